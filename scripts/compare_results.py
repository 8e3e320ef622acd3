"""Compare the results of the working tree with those of an earlier revision, on the same inputs.

Usage: python scripts/compare_results.py BASE

BASE is any name of a commit. Both sides use only the command line and the public names of `sentiscale`, so
modules may move between the two. The working tree is given what the base made: it trains on the base's data
and predicts with the base's model. So a difference shows where it arises, not in everything that follows.

Prints a line for each comparison; exits with 1 if anything differs. Results stay in build/compare-results.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "build" / "compare-results"
REAL_DATA = REPOSITORY.parent / "shared" / "data"
REAL_FILES = ("sample-2000.ft.txt", "reviews-stars.csv")
SENTISCALE = (sys.executable, "-m", "sentiscale")
VOLATILE = """argv finished_at flops_utilisation git_commit git_commits host id mb_per_s path peak_memory_mb
peak_memory_mb_per_rank phases phases_per_rank rows_per_s seconds started_at tokens_per_s train_seconds
versions waiting_share"""
"""Keys of JSON documents whose values change from run to run: times, memory, places, versions."""
PROSE = "caveats findings warnings why"
"""Keys of sentences, and Markdown files: only their numbers are compared, so that wording can improve."""
VOLATILE_FILES = ("curves.png", "curves.svg", "dask.html", "train.log")
"""Files that show times."""
# 40 steps, at 19 steps an epoch; validated before the first step and after the last one. The rate is high so
# that the network learns enough for its part in the predictions to show.
TRAIN = """--seed 2 --device cpu --precision fp32 --threads-per-rank 1 --oversubscribe --json --batch-size 128
--epochs 2.1 --lr 0.03 --set train.warmup_steps=10 --set train.validate_every=9 --set model.embedding_dim=32
--set model.hidden_dim=32 --set wide.bits=16 --set wide.longest=3 --set wide.gaps=2
--set train.silence_limit=120"""
ODD_TEXTS = f"""
?!?!
Isn't it? They'd've said it DOESN'T work!!!!
Tr\u00e8s d\u00e9\u00e7u \u2026 \u00c9cran \U0001f61e
<br />5 &amp; 6&lt;7\u00a0% \ufffd\u0130 3.5/10 @home #1 {"x" * 300}
{"word " * 400}
{"word " * 1500}"""
"""One a line, the empty text first; the network reads 400 words."""


def commands(real: bool) -> dict[str, str]:
    """What both sides run, by the folder for the results, which `@` stands for.

    Each comes after those whose results it is given. A function of this script may stand for a verb.
    """
    data, model = "given/prepare-fasttext/data", "given/train-lstm-1x1/run/model"
    runs = ("lstm-1x1", "lstm-2x1", "lstm-1x2", "gru-1x1", "gru-2x1", "gru-1x2")
    return {
        "synth-fasttext": "synth --rows 3000 --seed 1 --out @/reviews.txt --json",
        "synth-csv": "synth --rows 3000 --seed 1 --out @/reviews.csv --json",
        "synth-jsonl": "synth --rows 3000 --seed 1 --out @/reviews.jsonl --json",
        "prepare-fasttext": "prepare given/synth-fasttext/reviews.txt inputs/odd.txt --out @/data --json",
        "prepare-csv": "prepare given/synth-csv/reviews.csv --out @/data --json",
        "prepare-jsonl": "prepare given/synth-jsonl/reviews.jsonl --out @/data --json",
        **{f"prepare-{file}": f"prepare inputs/{file} --out @/data --json" for file in REAL_FILES if real},
        **{
            f"train-{run}": f"train {data} --out @/run --model {run[:-4]} --layout {run[-3:]} {TRAIN}"
            for run in runs
        },
        "predict-pipe": f"predict {model} < inputs/texts.txt",
        "predict-python": f"predict_in_python {model} @",
        "predict-http": f"predict_over_http {model} @",
        "evaluate-data": f"evaluate {model} {data} --json",
        "evaluate-file": f"evaluate {model} given/synth-csv/reviews.csv --json",
        "report": "report --timings inputs/timings.csv --markdown @/report.md --json",
        "onnx-lstm": f"run_exported {model} @",
        "onnx-gru": "run_exported given/train-gru-1x1/run/model @",
        "onnx-int8": f"run_exported {model} @ --int8 --check {data} --max-drop 0.9",
    }


def predict_in_python(model: str, out: str) -> None:
    """Save what `sentiscale.Model` says of the texts."""
    import sentiscale

    found = sentiscale.Model.load(model).predict_columns(lines(Path("inputs/texts.txt")))
    columns = ("positive_probability", "truncated", "unknown_share")
    np.savez(f"{out}/predictions.npz", **{name: getattr(found, name) for name in columns})


def predict_over_http(model: str, out: str) -> None:
    """Save what the service answers to one client that sends 100 texts at a time."""
    import httpx

    serve = (*SENTISCALE, "serve", model, "--port", "0", "--workers", "1", "--json", "--quiet")
    texts, answers = lines(Path("inputs/texts.txt")), []
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            ready = [*takewhile(lambda line: line != "}\n", server.stdout or ()), "}"]
            with httpx.Client(base_url=json.loads("".join(ready))["url"], timeout=60) as client:
                for start in range(0, len(texts), 100):
                    answer = client.post("/v1/predict", json={"texts": texts[start : start + 100]})
                    answers.append(answer.raise_for_status().json())
        finally:
            server.terminate()
    Path(out, "answers.json").write_text(json.dumps(answers))


def run_exported(model: str, out: str, *options: str) -> None:
    """Export a model; save what ONNX Runtime computes of the texts, and of prepared rows one by one."""
    import onnxruntime

    import sentiscale

    export = (*SENTISCALE, "export", model, "--out", f"{out}/model.onnx", "--json", *options)
    exported = subprocess.run(export, stdout=subprocess.PIPE, check=False)
    if exported.returncode:
        sys.exit(exported.returncode)  # its message is the last line on stderr
    Path(out, "report.json").write_bytes(exported.stdout)
    predictor = sentiscale.OnnxPredictor.load(f"{out}/model.onnx")
    logits = predictor.logits(predictor.encoder.encode(lines(Path("inputs/texts.txt"))))
    split = sentiscale.PreparedDataset.open("given/prepare-fasttext/data").split("test")
    session = onnxruntime.InferenceSession(f"{out}/model.onnx", providers=["CPUExecutionProvider"])
    rows = [ids.astype(np.int64) for ids in np.split(split.tokens, split.offsets[1:-1])]
    answers = [session.run(None, {"ids": ids[None], "lengths": np.array([len(ids)])}) for ids in rows]
    np.savez(f"{out}/results.npz", logits=logits, rows=np.array(answers))


IN_PYTHON = {function.__name__: function for function in (predict_in_python, predict_over_http, run_exported)}


class Side:
    """One revision's source, and the folder in which its commands run."""

    def __init__(self, source: Path, folder: Path, base: Path) -> None:
        """Empty the folder; `base` is that of the base, which may be the same."""
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "given").symlink_to(base / "results")
        if folder != base:
            (folder / "inputs").symlink_to(base / "inputs")
        # Kernels on disk are not made anew when a function inlined into them changes: start without any.
        paths = {"PYTHONPATH": str(source), "NUMBA_CACHE_DIR": str(folder / "kernels")}
        self.environment = os.environ | paths
        found = self.call(sys.executable, "-c", "import sentiscale; print(sentiscale.__file__)").decode()
        if not found.startswith(str(source)):
            raise SystemExit(f"{source} is not what is imported, but {found}")

    def call(self, *command: str, stdin: str = os.devnull) -> bytes:
        """What a command prints."""
        with open(self.folder / stdin, "rb") as given:
            return subprocess.run(
                command, cwd=self.folder, env=self.environment, stdin=given, capture_output=True, check=True
            ).stdout

    def run(self, name: str, command: str) -> Path:
        """The folder with what a command wrote and printed, or with its error."""
        folder = self.folder / "results" / name
        folder.mkdir(parents=True)
        text, _, stdin = command.replace("@", f"results/{name}").partition(" < ")
        arguments = text.split()
        start = (sys.executable, __file__) if arguments[0] in IN_PYTHON else SENTISCALE
        try:
            printed = self.call(*start, *arguments, stdin=stdin or os.devnull)
            (folder / ("printed.json" if "--json" in arguments else "printed.txt")).write_bytes(printed)
        except subprocess.CalledProcessError as error:
            (folder / "failed.txt").write_bytes(error.stderr)
        return folder

    def make_inputs(self, repository: Path, real: bool) -> None:
        """Write what commands read besides each other's results."""
        inputs = self.folder / "inputs"
        inputs.mkdir()
        shutil.copy(repository / "examples" / "classic-timings.csv", inputs / "timings.csv")
        self.call(*SENTISCALE, "synth", "--rows", "2000", "--seed", "2", "--out", "inputs/reviews.txt")
        reviews = lines(inputs / "reviews.txt")
        if real:
            shutil.copy(REAL_DATA / "sample-2000.ft.txt", inputs)
            reviews += lines(inputs / "sample-2000.ft.txt")
            with pa.input_stream(REAL_DATA / "reviews-stars.csv.zst") as stars:
                rows = pd.read_csv(stars, nrows=20_000, dtype=str, keep_default_na=False)
            rows.to_csv(inputs / "reviews-stars.csv", index=False)
        odd = ODD_TEXTS.split("\n")
        texts = [*odd, *(review.partition(" ")[2] for review in reviews)]
        (inputs / "texts.txt").write_text("\n".join([*texts, ""]), encoding="utf-8")
        labelled = [f"__label__{1 + at % 2} {text}\n" for at, text in enumerate([*odd, "again", *odd])]
        (inputs / "odd.txt").write_text("".join(["no label\n", *labelled]), encoding="utf-8")


def lines(path: Path) -> list[str]:
    """Lines of a file; nothing but a line feed ends one."""
    return path.read_bytes().decode(errors="backslashreplace").removesuffix("\n").split("\n")


def contents(path: Path) -> dict[str, Any]:
    """The values in a file by their names, without those that change from run to run."""
    match path.suffix:
        case ".json":
            values = dict(flat(json.loads(path.read_bytes())))
            if path.name == "state.json":  # of a checkpoint; its digest covers the times
                values.pop("/digest", None)
            return values
        case ".jsonl":
            return dict(flat([json.loads(line) for line in lines(path)]))
        case ".safetensors":
            return load_file(path)
        case ".npz":
            return dict(np.load(path))
        case ".md":
            return {"numbers": numbers(path.read_text(encoding="utf-8"))}
        case ".txt" | ".csv" | ".toml":
            return {f"line {number}": line for number, line in enumerate(lines(path), 1)}
        case _:
            return {"bytes": np.fromfile(path, np.uint8)}


def flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values and lengths of lists of a JSON document by their places, such as `/metrics/0/step`."""
    if not isinstance(value, dict | list) or value == {}:
        yield place, value
        return
    if isinstance(value, list):
        yield f"{place}/length", len(value)
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if key in PROSE.split():
            yield f"{place}/{key}", numbers(json.dumps(inner, ensure_ascii=False))
        elif key not in VOLATILE.split():
            yield from flat(inner, f"{place}/{key}")


def numbers(prose: str) -> str:
    """The numbers in a text, in their order."""
    return " ".join(re.findall(r"\d+(?:[.,]\d+)*", prose))


def difference(base: Any, new: Any) -> str | None:
    """How two values differ; None if they are equal to the last bit."""
    if isinstance(base, str) and isinstance(new, str):
        alike = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(base, new, strict=False))))
        base, new = base[max(0, alike - 20) :], new[max(0, alike - 20) :]
    if not (isinstance(base, np.ndarray) and isinstance(new, np.ndarray)):
        return None if repr(base) == repr(new) else f"{base!r:.60} is now {new!r:.60}"
    if (base.dtype, base.shape) != (new.dtype, new.shape):
        return f"{base.dtype} {base.shape} is now {new.dtype} {new.shape}"
    if base.tobytes() == new.tobytes():
        return None
    most = np.abs(base.astype(np.float64) - new).max()
    return f"{np.count_nonzero(base != new):,} of {base.size:,} numbers differ, by up to {most:.2g}"


def differences(base: Path, new: Path) -> Iterator[str]:
    """What differs between two folders: for each file the first difference, and how many more there are."""
    if (failed := new / "failed.txt").exists():
        yield f"{lines(failed)[-1]}  (see {failed})"
        return
    files = {file.relative_to(side) for side in (base, new) for file in side.rglob("*") if file.is_file()}
    for name in sorted(name for name in files if name.name not in VOLATILE_FILES):
        if not ((base / name).exists() and (new / name).exists()):
            yield f"{name} is missing in the {'working tree' if (base / name).exists() else 'base'}"
            continue
        was, now = contents(base / name), contents(new / name)
        # Later versions may add keys to a JSON document.
        keys = was if name.suffix in (".json", ".jsonl") else was | now
        pairs = {key: (was.get(key, "nothing"), now.get(key, "nothing")) for key in keys}
        found = [f"{key}: {how}" for key, pair in pairs.items() if (how := difference(*pair))]
        if found:
            yield f"{name}: {found[0]}" + f" (and {len(found) - 1:,} more)" * (len(found) > 1)


def git(*arguments: str) -> str:
    """What git prints."""
    command = [str(shutil.which("git")), *arguments]
    return subprocess.check_output(command, cwd=REPOSITORY, text=True).strip()


def say(*parts: str) -> None:
    """Print a line, and details of it below."""
    sys.stdout.write("\n         ".join(parts) + "\n")
    sys.stdout.flush()


def base_folder(commit: str, real: bool) -> Path:
    """The folder with a commit's inputs and results; made unless it is there."""
    folder, stamp = RESULTS / commit, RESULTS / commit / "stamp"
    # Other packages or another version of this script would make other results.
    made_by = [Path(__file__).read_bytes(), (REPOSITORY / "constraints.txt").read_bytes(), bytes([real])]
    digest = hashlib.sha256(b"".join(made_by)).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return folder
    say(f"making the results of {commit[:12]}, once")
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary).resolve() / "tree"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            side = Side(tree / "src", folder, folder)
            side.make_inputs(tree, real)
            for name, command in commands(real).items():
                if (failed := side.run(name, command) / "failed.txt").exists():
                    raise SystemExit(f"{name} fails in the base: {failed.read_text()}")
        finally:
            git("worktree", "remove", "--force", str(tree))
    stamp.write_text(digest)
    return folder


def main(revision: str) -> int:
    """Compare; the exit status."""
    real = REAL_DATA.is_dir()
    if not real:
        say(f"real reviews are left out: there is no {REAL_DATA}")
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    base = base_folder(commit, real)
    started, new = time.monotonic(), Side(REPOSITORY / "src", RESULTS / "working-tree", base)
    wanted, different = commands(real), 0
    with ThreadPoolExecutor(2) as threads:  # two at a time: most of them use one core
        for folder in threads.map(new.run, wanted, wanted.values()):
            found = list(differences(base / "results" / folder.name, folder))
            say(f"{'DIFFERS' if found else 'same':9}{folder.name}", *found)
            different += bool(found)
    seconds = time.monotonic() - started
    say(f"{len(wanted)} comparisons with {commit[:12]}: {different} differ ({seconds:.0f} s)")
    return min(different, 1)


if __name__ == "__main__":
    if function := IN_PYTHON.get(sys.argv[1]):
        sys.exit(function(*sys.argv[2:]))
    sys.exit(main(sys.argv[1]))
