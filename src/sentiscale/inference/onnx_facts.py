"""What an ONNX file says of itself: all that a caller needs to turn text into ids and logits into labels."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import Field, ValidationError, field_validator

from sentiscale.config import Cleaning
from sentiscale.errors import DataError, UsageError
from sentiscale.records import Record
from sentiscale.text.vocab import PAD, UNK, Vocab

LABELS = ("negative", "positive")
FORMAT = "sentiscale-onnx-1"


class Facts(Record):
    """The file's `metadata_props`: strings in the file, lists as JSON, the vocabulary one word a line."""

    format: str = FORMAT
    """Name and version of this list of facts."""
    labels: tuple[str, ...] = LABELS
    """The second is the one whose probability the model gives."""
    cleaning: Cleaning
    """The rule that turns text into words; `sentiscale.text.clean` states it."""
    max_tokens: int = Field(ge=1)
    """Tokens of a row that the network reads, chosen inside the graph."""
    stored_tokens: int = Field(ge=1)
    """Tokens of a review to hand over: its first ones."""
    padding_id: int = PAD
    """Token id that fills short rows."""
    unknown_id: int = UNK
    """Token id of words that the vocabulary does not have."""
    weights: str = "fp32"
    """fp32 or int8."""
    version: str = ""
    """Of the sentiscale that wrote the file."""
    data_digest: str = ""
    """Which prepared data the model was trained on."""
    vocabulary: str
    """One word a line; the line's number, from 0, is the word's id."""

    @field_validator("labels", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @classmethod
    def read(cls, properties: Mapping[str, str], name: str) -> "Facts":
        """Of a file's properties.

        Raises: DataError when the file is not one that `sentiscale export` wrote.
        """
        try:
            facts = cls.model_validate(dict(properties))
        except (ValidationError, ValueError) as error:
            raise DataError(
                f"{name} does not say which words it was made for; give a file of `sentiscale export`."
            ) from error
        if facts.format != FORMAT:
            raise DataError(f"{name} has format '{facts.format}'; this release reads {FORMAT}. Export again.")
        return facts

    def properties(self) -> dict[str, str]:
        """All of it as strings."""
        values = self.model_dump()
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    def vocab(self) -> Vocab:
        """The vocabulary to number words by.

        Raises: DataError when it was changed by hand.
        """
        return Vocab(self.vocabulary.split("\n"))


def optional_package(name: str) -> Any:
    """The module `name`.

    Raises: UsageError when it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"this needs the package {name}, which is not installed: pip install 'sentiscale[export]'."
        ) from error
