"""Label reviews with an exported model; needs only onnxruntime and numpy.

    python onnx_without_sentiscale.py model.onnx < reviews.txt

One review a line in, `label<TAB>probability` a line out. Everything but the rule that cuts text into words is
inside the ONNX file: vocabulary, labels, how many words to hand over. The rule here is that of models trained
with the default cleaning, `words`. It was tested to agree with sentiscale's own on any Unicode text.
"""

import json
import re
import sys

import numpy as np
import onnxruntime

# --- text to words -----------------------------------------------------------------------------------

# Letters and digits. Beyond ASCII all but Latin-1 signs, general punctuation and variation selectors counts.
W = "[a-z0-9\u00c0-\u1fff\u2070-\ufdff\ufe10-\ufefe\uff00-\uffff]"
WORD = re.compile(rf"'(?:[smd]|re|ve|ll)(?!{W}|'{W})|{W}+(?:'{W}+)*|[!?]|[\U00010000-\U0010ffff]")
CONTRACTION = re.compile(r"(.+?)'?(n't|'(?:[smd]|re|ve|ll))", re.DOTALL)
# Lower case of characters of one and two bytes, where it takes as many bytes; U+2019 is an apostrophe.
PAIRS = ((character, character.lower()) for character in map(chr, range(0x800)))
LOWER = {ord(big): low for big, low in PAIRS if len(big.encode()) == len(low.encode())} | {0x2019: "'"}


def words_of(text: str) -> list[str]:
    """Words, contractions set apart ("do n't"), emoji, and `!` and `?`, at most three in a row."""
    words, marks = [], 0
    for found in WORD.findall(text.encode("utf-8", "replace").decode().translate(LOWER)):
        marks = marks + 1 if found in "!?" else 0
        if marks <= 3:
            words += split_contractions(found.encode()[:64].decode("utf-8", "ignore").rstrip("'"))
    return words


def split_contractions(word: str) -> list[str]:
    """["should", "n't", "'ve"] of "shouldn't've"."""
    ends: list[str] = []
    while found := CONTRACTION.fullmatch(word):
        word = found[1]
        ends.insert(0, found[2])
    return [word, *ends]


# --- words to labels ---------------------------------------------------------------------------------


class Model:
    """An exported model and what it says of itself."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        facts = self.session.get_modelmeta().custom_metadata_map
        if facts["cleaning"] != "words":
            raise SystemExit(
                f"{path} was trained with --clean {facts['cleaning']}, this example knows 'words'"
            )
        self.labels = json.loads(facts["labels"])
        self.ids = {word: number for number, word in enumerate(facts["vocabulary"].split("\n"))}
        self.unknown, self.most = int(facts["unknown_id"]), int(facts["stored_tokens"])

    def probabilities(self, texts: list[str]) -> np.ndarray:
        """Probability of the second label for each text: pad with 0, say how long each row is."""
        rows = [[self.ids.get(word, self.unknown) for word in words_of(text)[: self.most]] for text in texts]
        lengths = np.array([len(row) for row in rows], np.int64)
        ids = np.zeros((len(rows), max(1, lengths.max())), np.int64)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        return self.session.run(["probability"], {"ids": ids, "lengths": lengths})[0]


def main(path: str) -> None:
    """Label the lines of standard input, 128 at a time."""
    model = Model(path)
    lines = [line.decode("utf-8", "replace").removesuffix("\n") for line in sys.stdin.buffer]
    for start in range(0, len(lines), 128):
        for positive in model.probabilities(lines[start : start + 128]):
            label, probability = model.labels[int(positive > 0.5)], max(positive, 1 - positive)
            sys.stdout.write(f"{label}\t{probability:.4f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
