"""How fast are a million reviews labelled, what part of the network's own speed is that, in how much memory?

Run:      python benchmarks/bench_predict.py REVIEWS.ft.txt --model RUN/model --data DATA --out predict.jsonl
          [--rows 1000000] [--rounds 3] [--realtime] [--cases forward,predict,…]
          REVIEWS are plain fastText files; DATA is what the model was trained on, for the peers to learn from
Fixed:    one file of --rows reviews, made of REVIEWS by grow_reviews.py: every copy differs, in words and
          length. Every case reads this file, by the same reader        Varies: cores, arithmetic, program
Timed:    the whole process from its start ("whole") and without loading ("inside"); of the peers inside is
          reading, cleaning, features and prediction. Training of peers and export to ONNX are not timed
Forward:  the network alone on batches that are padded before the clock starts, all cores, in a process of
          its own in every round. The share is a case's speed inside over that of the same round
Memory:   resident, summed over the process tree; model files that are mapped count as far as they are read
Order:    random over the cases of a round; medians over the rounds. A run that others disturbed is repeated
Expect:   on 2 cores and 1,000,000 reviews 2 minutes a round for each of predict, bf16 and forward, 4 for one
          worker; a share of 0.9; below 1 GiB. 50,000 rows: 20 s each, of which 4 are loading
Not for:  accuracy: the source's reviews may be those of training, and copies have words replaced
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measured import Taken, provenance, run, undisturbed, use_cores

from sentiscale.records import available_cores

HERE = Path(__file__).parent
PREDICTING = str(HERE / "predicting.py")


class Labelled(Taken):
    """One run of a case."""

    case: str
    round: int
    rows: int
    inside_rows_per_s: float
    """Without loading."""
    accuracy: float | None = None
    figures: dict[str, Any] | None = None
    """Where they come from."""


@dataclass(frozen=True)
class Case:
    """One way to label the file."""

    name: str
    about: str
    cores: int
    command: Callable[["Bench"], list[str]]


@dataclass(frozen=True)
class Bench:
    """What all cases share."""

    model: Path
    reviews: Path
    scratch: Path

    def predict(self, *more: str, reviews: Path | None = None, out: str = "out.parquet") -> list[str]:
        """The command that is measured."""
        return [
            sys.executable,
            "-m",
            "sentiscale",
            "predict",
            str(self.model),
            str(reviews or self.reviews),
            "--out",
            str(self.scratch / out),
            "--quiet",
            "--json",
            *more,
        ]

    def child(self, *what: object) -> list[str]:
        """A rival, in a process of its own."""
        return [sys.executable, PREDICTING, *map(str, what), str(self.reviews)]


def cases(cores: int) -> list[Case]:
    """All cases, in the order of the table."""
    return [
        Case("forward", "network alone, padded batches", cores, lambda b: b.child("forward", b.model, cores)),
        Case("predict", "`predict`, lines to Parquet", cores, lambda b: b.predict("--labelled")),
        Case("predict-1", "the same, `--workers 1`", 1, lambda b: b.predict("--labelled", "--workers", "1")),
        Case(
            "predict-table",
            "Parquet to Parquet, columns kept",
            cores,
            lambda b: b.predict("--prefix", "p_", reviews=table_of(b.reviews)),
        ),
        Case(
            "predict-jsonl", "lines to JSON lines", cores, lambda b: b.predict("--labelled", out="out.jsonl")
        ),
        Case(
            "predict-bf16",
            "`--precision bf16`",
            cores,
            lambda b: b.predict("--labelled", "--precision", "bf16"),
        ),
        Case("onnx", "ONNX Runtime, fp32", cores, lambda b: b.child("onnx", b.scratch / "fp32.onnx", cores)),
        Case(
            "onnx-int8",
            "ONNX Runtime, int8",
            cores,
            lambda b: b.child("onnx", b.scratch / "int8.onnx", cores),
        ),
        Case("fasttext", "fastText, bigrams", 1, lambda b: b.child("fasttext", b.scratch / "fasttext.bin")),
        Case(
            "tfidf-lr",
            "TF-IDF + logistic regression",
            1,
            lambda b: b.child("tfidf-lr", b.scratch / "tfidf-lr.bin"),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="+", help="fastText files, plain")
    parser.add_argument("--model", type=Path, required=True, help="model directory")
    parser.add_argument("--data", type=Path, required=True, help="prepared data the peers learn from")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; new ones are appended")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--cases", default="", help="names, comma between; default: all")
    parser.add_argument("--scratch", type=Path, help="folder for inputs and outputs; default: the system's")
    parser.add_argument("--realtime", action="store_true", help="priority over other programs (needs root)")
    parser.add_argument("--others", type=float, default=0.2, help="cores others may use (default 0.2)")
    parser.add_argument("--again", type=int, default=2, help="repeats of a disturbed run (default 2)")
    arguments = parser.parse_args()
    use_cores(arguments.cores, realtime=arguments.realtime)
    wanted = arguments.cases.split(",") if arguments.cases else []
    chosen = [case for case in cases(arguments.cores) if not wanted or case.name in wanted]
    at_start = provenance()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        bench = ready(arguments, Path(folder), {case.name for case in chosen})
        found = list(measure(arguments, bench, chosen, at_start))
    print("\n".join(table([each for each in found if each.kept], chosen, at_start)))


def ready(arguments: argparse.Namespace, scratch: Path, names: set[str]) -> Bench:
    """Make the file to label, and the models of the rivals."""
    reviews = scratch / "reviews.txt"
    grow = [sys.executable, HERE / "grow_reviews.py", *arguments.source, "--rows", str(arguments.rows)]
    subprocess.run([*grow, "--out", reviews], check=True)
    (scratch / "out").mkdir()
    bench = Bench(arguments.model, reviews, scratch / "out")
    if "predict-table" in names:
        subprocess.run([sys.executable, PREDICTING, "table", table_of(reviews), reviews], check=True)
    rivals = ("onnx", "onnx-int8", "fasttext", "tfidf-lr")
    for name in names.intersection(rivals):
        place = [arguments.model, arguments.data, bench.scratch]
        subprocess.run([sys.executable, PREDICTING, "make", name, *place], check=True)
    return bench


def table_of(reviews: Path) -> Path:
    """Where the same reviews stand as a table."""
    return reviews.with_suffix(".parquet")


def measure(
    arguments: argparse.Namespace, bench: Bench, chosen: list[Case], at_start: dict[str, Any]
) -> Iterator[Labelled]:
    """All cases in every round, in random order."""
    order = random.Random(0)
    for number in range(arguments.rounds):
        for case in order.sample(chosen, len(chosen)):
            for each in undisturbed(lambda: once(case, bench, number, arguments), arguments):  # noqa: B023
                full = each.model_copy(update={"figures": at_start})
                with arguments.out.open("a") as file:
                    file.write(full.model_dump_json() + "\n")
                speed = f"{each.inside_rows_per_s:,.0f} reviews/s, {each.peak_mib:,.0f} MiB"
                print(f"{case.name}: {speed}{'' if each.kept else ' (disturbed)'}", file=sys.stderr)
                yield full


def once(case: Case, bench: Bench, number: int, arguments: argparse.Namespace) -> Labelled:
    """One run; what it wrote is removed."""
    taken, output = run(case.command(bench), realtime=arguments.realtime)
    for path in bench.scratch.glob("out.*"):
        path.unlink()
    said = json.loads(output)
    return Labelled(
        **taken.model_dump(),
        case=case.name,
        round=number,
        rows=said["rows"],
        inside_rows_per_s=round(said["rows_per_s"], 1),
        accuracy=said.get("accuracy"),
    )


def table(found: list[Labelled], chosen: list[Case], at_start: dict[str, Any]) -> Iterator[str]:
    """The page: one line a case."""
    host = at_start["host"]
    yield f"{host['cpu_model']}, {host['cores']} cores, load {host['load_1m']} at the start; "
    yield f"commit {at_start['git_commit']}; versions {json.dumps(at_start['versions'])}"
    yield ""
    yield "| | cores | reviews/s inside | of forward | reviews/s whole | seconds | peak MiB | accuracy |"
    yield "|---|---|---|---|---|---|---|---|"
    forward = {each.round: each.inside_rows_per_s for each in found if each.case == "forward"}
    for case in chosen:
        runs = [each for each in found if each.case == case.name]
        if not runs:
            continue
        shares = [each.inside_rows_per_s / forward[each.round] for each in runs if each.round in forward]
        accuracy = runs[0].accuracy
        is_forward = case.name == "forward"  # goes through some of the rows only, several times
        cells = [
            case.about,
            str(case.cores),
            f"{median(each.inside_rows_per_s for each in runs):,.0f}",
            f"{median(shares):.2f}" if shares and case.cores == chosen[0].cores else "",
            "" if is_forward else f"{median(each.rows / each.seconds for each in runs):,.0f}",
            "" if is_forward else f"{median(each.seconds for each in runs):.1f}",
            f"{max(each.peak_mib for each in runs):,.0f}",
            "" if accuracy is None else f"{accuracy:.4f}",
        ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
