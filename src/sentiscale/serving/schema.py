"""Request and response bodies; their descriptions appear in the OpenAPI schema."""

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

from sentiscale.config import ClassKind
from sentiscale.model.thresholds import Costs, Measure, ThresholdPoint, ThresholdScores
from sentiscale.records import CalibrationBin, ClassScores
from sentiscale.serving.settings import ServeSettings
from sentiscale.text.column import replace_surrogates

Share = Annotated[float, Field(ge=0, le=1)]


class ErrorDetail(BaseModel):
    """Reason why a request failed."""

    code: str = Field(description="Stable name of the error, for use in programs.")
    message: str = Field(description="Explanation: what was received, and what is allowed.")
    limit: float | None = Field(description="The limit that was exceeded, if any.")


class ErrorAnswer(BaseModel):
    """Body of all error responses."""

    error: ErrorDetail


class Word(BaseModel):
    """Contribution of one word to the logit."""

    word: str = Field(description="The word as the model reads it.")
    start: int = Field(ge=0, description="Index of its first character in the text, in Unicode code points.")
    end: int = Field(ge=0, description="Index after its last character.")
    contribution: float = Field(
        description="Contribution to the logit; above 0 means for the explained class."
    )


class Labelled(BaseModel):
    """Prediction for one text."""

    label: str = Field(description='Name of a class, or "unsure" if the model abstains.')
    probability: Share = Field(description="Probability of the label; if unsure, the largest one.")
    positive_probability: Share | None = Field(
        description="Probability of the second of two classes; null for more classes."
    )
    probabilities: dict[str, Share] = Field(description="Probability of each class; they add up to 1.")
    expected_star: float | None = Field(
        None, description="Mean number of stars under the probabilities; null if the classes are not stars."
    )
    truncated: bool = Field(
        description="Whether the text is longer than the network reads, so that its end is ignored."
    )
    unknown_share: Share = Field(description="Share of words that are not in the model's vocabulary.")
    class_: str | None = Field(
        None,
        alias="class",
        description="With `explain`: the explained class: the second of two; of more, the label, or the most "
        "probable class if the label is unsure.",
    )
    logit: float | None = Field(
        None,
        description="With `explain`: log odds of that class; of more than two classes, its logit minus the "
        "mean of all.",
    )
    base: float | None = Field(None, description="With `explain`: the logit without any words.")
    words: list[Word] | None = Field(
        None, description="With `explain`: the words; `base` and their contributions add up to `logit`."
    )


class ModelName(BaseModel):
    """Model that made the predictions."""

    name: str
    digest: str


class PredictAnswer(BaseModel):
    """One prediction per text, in the same order."""

    predictions: list[Labelled]
    model: ModelName


class SplitRows(BaseModel):
    """Number of rows per split; null if unknown."""

    train: int | None
    valid: int | None
    test: int | None


class DataFacts(BaseModel):
    """Data that the model was trained on."""

    digest: str | None
    rows: SplitRows


class ScoresAnswer(BaseModel):
    """Scores on rows that the model was not trained on; null or empty if they were not computed."""

    accuracy: float | None = Field(description="Of the rows that are not labelled unsure.")
    loss: float | None
    f1: float | None = Field(
        description="Of the second of two classes, or the mean over more classes, as precision and recall."
    )
    precision: float | None
    recall: float | None
    auc: float | None
    ece: float | None
    rows: int | None
    unsure: int | None = Field(description="Rows labelled unsure.")
    confusion: list[list[int]] | None = Field(
        description="Rows by true class (list) and label (entry), in the order of `classes`, without unsure. "
        "For negative and positive: [[true negatives, false positives], [false negatives, true positives]]."
    )
    per_class: dict[str, ClassScores] | None
    macro_f1: float | None
    balanced_accuracy: float | None
    majority_share: float | None = Field(description="Share of the most frequent class.")
    binary_accuracy: float | None = Field(
        description="For stars and neutral reviews: accuracy of the more probable side."
    )
    mae: float | None = Field(description="Mean absolute error in stars; null if the classes are not stars.")
    quadratic_kappa: float | None = Field(description="Cohen's kappa of stars, with quadratic weights.")


class Thresholds(BaseModel):
    """Decision on labels, by class."""

    weights: dict[str, float] = Field(
        description="The label is the class with the largest product of weight and probability; 1 by default."
    )
    thresholds: dict[str, Share] = Field(
        description="A class is the label if its probability is at least its threshold, and never otherwise."
    )
    abstain: dict[str, Share] = Field(description="A label with a lower probability becomes unsure.")


class ThresholdFacts(BaseModel):
    """How a threshold was chosen, and what it scores."""

    class_name: str | None = Field(description="The class; null if the threshold holds for every class.")
    measure: Measure = Field(description="What was asked for.")
    target: float | None = Field(description="The value asked for; null for costs.")
    costs: Costs | None
    threshold: Share
    reported: ThresholdScores = Field(description="Scores on rows that it was not chosen on.")
    curve: list[ThresholdPoint] = Field(description="What other thresholds would give on these rows.")


class Limits(BaseModel):
    """Limits of one request."""

    texts: int
    characters: int = Field(description="Per text.")
    body_bytes: int
    explain_texts: int
    explain_characters: int


class ModelAnswer(BaseModel):
    """Properties and scores of the model."""

    name: str
    digest: str
    classes: list[str] = Field(description="Names of the classes, in order.")
    kind: ClassKind = Field(description="How the classes were formed.")
    thresholds: Thresholds | None = Field(
        description="How labels follow from probabilities; null if the most probable class is the label."
    )
    threshold_reports: list[ThresholdFacts]
    cell: str
    wide: bool
    parameters: int
    vocab_size: int
    max_tokens: int
    cleaning: str
    cleaning_version: int
    trained_at: str | None
    train_seconds: float | None
    data: DataFacts | None
    test: ScoresAnswer | None
    valid: ScoresAnswer | None
    calibration: list[CalibrationBin] | None
    limits: Limits


class State(BaseModel):
    """State of the service."""

    status: Literal["ok", "ready"]


class _PredictBase(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"texts": ["Great screen, but the battery died in a week."]}},
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_unknown_fields(cls, data: Any) -> Any:
        """Keep only the first unknown field: one is reported, and 90,000 errors would take 0.3 s."""
        if not isinstance(data, dict):
            return data
        unknown = next((name for name in data if name not in cls.model_fields), None)
        return {name: value for name, value in data.items() if name in cls.model_fields or name == unknown}


def request_model(settings: ServeSettings) -> type[BaseModel]:
    """Create the model of the body of `POST /v1/predict`, with the limits in `settings`."""
    # JSON escapes can contain half a surrogate pair, which all other ways to predict replace too.
    whole_text = BeforeValidator(lambda text: replace_surrogates(text) if isinstance(text, str) else text)
    text = Annotated[StrictStr, Field(max_length=settings.max_characters), whole_text]
    texts = Annotated[
        list[text], Field(min_length=1, max_length=settings.max_texts, description="Reviews to label.")
    ]
    explain = Annotated[StrictBool, Field(description="Also return the contribution of each word.")]
    thresholds = Annotated[
        StrictBool,
        Field(
            description="Apply the model's class weights and thresholds. If false, the label is the most "
            "probable class."
        ),
    ]
    return create_model(
        "PredictRequest",
        __base__=_PredictBase,
        texts=(texts, ...),
        explain=(explain, False),
        thresholds=(thresholds, True),
    )
