"""Ask a model why: the words of a review coloured, its strongest words, and the verdict without the first.

Run: python examples/explain.py RUN/model "Great screen, but the battery died in a week."
"""

import sys

from rich.console import Console

import sentiscale
from sentiscale.cli.explained import coloured_line
from sentiscale.inference.explain import Explanation, explain


def strongest(explanation: Explanation, count: int = 5) -> str:
    """The words that moved the logit most, each with what it contributed."""
    ordered = sorted(explanation.words, key=lambda share: -abs(share.contribution))
    return ", ".join(f"{share.word} {share.contribution:+.2f}" for share in ordered[:count])


def main(model: str, *texts: str) -> None:
    """Explain each text."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    predictor = sentiscale.Predictor.load(model)
    for text, explanation in zip(texts, explain(predictor, texts), strict=True):
        prediction = explanation.prediction
        console.print(f"{prediction.label} {prediction.probability:.2f}:", coloured_line(text, explanation))
        if not explanation.words:
            continue
        console.print(f"  logit {explanation.logit:+.2f} = {explanation.base:+.2f} + its words, the largest:")
        console.print(f"  {strongest(explanation)}")
        first = max(explanation.words, key=lambda share: abs(share.contribution))
        again = predictor.predict(text[: first.start] + text[first.end :])
        console.print(f'  without "{first.word}": {again.label} {again.probability:.2f}')


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
