"""What goes in and out over HTTP, as OpenAPI shows it."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    create_model,
    model_validator,
)

from sentiscale.serving.settings import ServeSettings
from sentiscale.text.column import whole

Share = Annotated[float, Field(ge=0, le=1)]


class ErrorDetail(BaseModel):
    """Why a request was not answered."""

    code: str = Field(description="A word that programs can go by.")
    message: str = Field(description="What was got, what is allowed.")
    limit: float | None = Field(description="The number that was overstepped, where there is one.")


class ErrorAnswer(BaseModel):
    """The one shape of all errors."""

    error: ErrorDetail


class Word(BaseModel):
    """What one word contributed to the logit."""

    word: str = Field(description="As the model reads it.")
    start: int = Field(ge=0, description="First character in the text, counted in Unicode code points.")
    end: int = Field(ge=0, description="One past the last.")
    contribution: float = Field(description="In logits; above 0 speaks for positive.")


class Labelled(BaseModel):
    """What the model says of one text."""

    label: Literal["negative", "positive"]
    probability: float = Field(ge=0.5, le=1, description="Of the label.")
    positive_probability: Share
    truncated: bool = Field(description="Whether the text is longer than the network reads.")
    unknown_share: Share = Field(description="Share of its words that the model does not know.")
    logit: float | None = Field(None, description="With `explain`: log odds of positive.")
    base: float | None = Field(None, description="With `explain`: the logit without the words.")
    words: list[Word] | None = Field(
        None, description="With `explain`: base and contributions give the logit."
    )


class ModelName(BaseModel):
    """Which model has answered."""

    name: str
    digest: str


class PredictAnswer(BaseModel):
    """One prediction a text, in the same order."""

    predictions: list[Labelled]
    model: ModelName


class Rows(BaseModel):
    """Rows of each split; null where it is not known."""

    train: int | None
    valid: int | None
    test: int | None


class DataFacts(BaseModel):
    """What the model has learnt from."""

    digest: str | None
    rows: Rows


class ScoresAnswer(BaseModel):
    """How good the model is on rows it has not learnt from."""

    accuracy: float | None
    loss: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    auc: float | None
    ece: float | None
    rows: int | None
    confusion: list[list[int]] | None = Field(
        description="[[true negatives, false positives], [false negatives, true positives]]"
    )


class CalibrationBin(BaseModel):
    """Test rows whose confidence falls between `low` and `high`."""

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None


class Limits(BaseModel):
    """What one request may hold."""

    texts: int
    characters: int = Field(description="Of one text.")
    body_bytes: int
    explain_texts: int
    explain_characters: int


class ModelAnswer(BaseModel):
    """What the model is and how good it is."""

    name: str
    digest: str
    cell: str
    wide: bool
    parameters: int
    vocab_size: int
    max_tokens: int
    cleaning: str
    trained_at: str | None
    train_seconds: float | None
    data: DataFacts | None
    test: ScoresAnswer | None
    valid: ScoresAnswer | None
    calibration: list[CalibrationBin] | None
    limits: Limits


class State(BaseModel):
    """Whether the service is well."""

    status: Literal["ok", "ready"]


def with_whole_characters(text: Any) -> Any:
    """Replace halves of surrogate pairs, which JSON escapes can make, as prediction does everywhere."""
    return whole(text) if isinstance(text, str) else text


class PredictBody(BaseModel):
    """What the body of every service has in common, whatever its limits."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"texts": ["Great screen, but the battery died in a week."]}},
    )

    @model_validator(mode="before")
    @classmethod
    def _with_few_fields(cls, data: Any) -> Any:
        """Drop all unknown fields but the first: one is told, and errors for 90,000 take 0.3 s."""
        if not isinstance(data, dict):
            return data
        unknown = next((name for name in data if name not in cls.model_fields), None)
        return {name: value for name, value in data.items() if name in cls.model_fields or name == unknown}


def request_model(settings: ServeSettings) -> type[BaseModel]:
    """The body of `POST /v1/predict` with the limits of this service."""
    text = Annotated[
        StrictStr, Field(max_length=settings.max_characters), BeforeValidator(with_whole_characters)
    ]
    texts = Annotated[
        list[text], Field(min_length=1, max_length=settings.max_texts, description="Reviews to label.")
    ]
    explain = Annotated[StrictBool, Field(description="Also say what each word contributed.")]
    return create_model("PredictRequest", __base__=PredictBody, texts=(texts, ...), explain=(explain, False))
