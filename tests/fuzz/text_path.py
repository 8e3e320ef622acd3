"""Run: `pip install atheris`, then `python -m tests.fuzz.text_path -max_total_time=600` from the repository.

Draws texts guided by what they reach in the code, and looks for one that breaks a property of
`properties.py`, raises an error that is none of ours, or hangs. The kernels are compiled, so only the Python
around them guides. `NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=DIR` in front, with an empty DIR, compiles them anew
with a check of every index: what would read beyond an array is an IndexError then. A folder as the last
argument keeps what was found worth keeping, for the next run. What breaks is written to `crash-…`; with that
file as the only argument it is tried again.
"""

import sys

import atheris

KERNELS = (
    *(f"data.{name}" for name in ("duplicates", "notes", "oddities", "placement", "wordcount")),
    *("model.ngrams", "model.word_vectors", "report.eda_counts", "study.bench.engines"),
    *(
        f"text.{name}"
        for name in ("bytes8", "clean", "compiled", "csv_scanner", "encode", "formats.fasttext")
    ),
    *(f"text.{name}" for name in ("lines", "reviews", "tokens", "word_table")),
)
"""numba compiles them, and cannot compile what atheris adds."""

with atheris.instrument_imports(include=["sentiscale"], exclude=[f"sentiscale.{name}" for name in KERNELS]):
    from sentiscale.errors import SentiscaleError
    from sentiscale.inference.predictor import Predictor
    from tests.fuzz.properties import check_bytes, check_texts
    from tests.inference.predict.conftest import WORDS, tiny_model

PIECES = (
    *WORDS,
    "n't",
    "'s",
    "x'n't",
    "don\u2019t",
    "they'd've",
    " ",
    "\n",
    "\t",
    "\u00a0",
    "\u3000",
    "\u0085",
    "'",
    "\u2019",
    "!",
    "?",
    "!!!!",
    "\ufe0f",
    "\ufeff",
    "\u200d",
    "\U0001f600",
    "\u00e9",
    "\u0130",
    "\u212a",
    "\u1e9e",
    "\ud800",
    "\udfff",
    "\x00",
    "\x7f",
    "__label__2 ",
    "a" * 63,
    "b" * 64,
    "\u00e9" * 32,
    "\U0001f600" * 16,
)
"""What is hard to find by chance: whole words, contractions, odd spaces, tokens as long as may be."""
MOST_TEXTS, MOST_PIECES = 6, 24

predictor = Predictor(tiny_model())


def text_from(provider: "atheris.FuzzedDataProvider") -> str:
    """A text of pieces and of whatever comes."""
    parts = []
    for _ in range(provider.ConsumeIntInRange(0, MOST_PIECES)):
        if provider.ConsumeBool():
            parts.append(provider.PickValueInList(list(PIECES)))
        else:
            parts.append(provider.ConsumeUnicode(provider.ConsumeIntInRange(1, 12)))
    return "".join(parts)


def one_input(data: bytes) -> None:
    """Called by the fuzzer with what it has drawn."""
    provider = atheris.FuzzedDataProvider(data)
    try:
        if provider.ConsumeBool():
            check_bytes(predictor, provider.ConsumeBytes(provider.remaining_bytes()))
        else:
            count = provider.ConsumeIntInRange(1, MOST_TEXTS)
            check_texts(predictor, [text_from(provider) for _ in range(count)])
    except SentiscaleError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
