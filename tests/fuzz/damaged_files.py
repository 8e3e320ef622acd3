"""Damage the files of a model, a dataset and a checkpoint, use them, and see what happens.

Run: `make fuzz SECONDS=600`. Each case is used in a process of its own, forked from one in which everything
is loaded. What may come out: the answer of the undamaged files, or DataError or UsageError. If the digests
were made to match afterwards, as by somebody who knows the format, another answer may come out too, if it is
finite, or another SentiscaleError, because training diverges from some weights. Anything else (an exception,
a crash, a hang, more memory than MEMORY_BYTES) is a failure; the case is printed and can be repeated with
`--repeat 'CASE'`.
"""

import argparse
import json
import math
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from tests.fuzz.mutations import Mutation, damage, mutations_of

MEMORY_BYTES = 2**30
"""Address space that a case may take on top of what is loaded before it."""
SECONDS = 60
SUBJECTS = {
    "model": (".toml", ".json", ".txt", ".safetensors"),
    "data": (".json", ".txt", ".bin"),
    "checkpoint": (".json", ".safetensors"),
}
"""What is damaged, and the suffixes of its files whose format the mutations know."""
TEXTS = ("good film", "not a bad film!", "", "never again " * 20, "it is n't the awful film ?")
OPTIONS = settings(
    max_examples=200,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
FAILURES = ("exception", "crash", "hang", "not finite", "changed")


@dataclass(frozen=True)
class Case:
    subject: str
    mutations: tuple[Mutation, ...]
    signed: bool
    """Whether the digests are made to match after the damage."""


cases = st.one_of(
    st.builds(
        Case,
        st.just(subject),
        st.lists(mutations_of(*suffixes), min_size=1, max_size=2).map(tuple),
        st.booleans(),
    )
    for subject, suffixes in SUBJECTS.items()
)


def make_subjects(folder: Path) -> None:
    """Write an undamaged model, dataset and run with checkpoints to `folder`."""
    from sentiscale.data.prepare import prepare
    from sentiscale.datasets.output import synth
    from sentiscale.model.directory import save_model
    from sentiscale.training.launch import train
    from tests.inference.predict.conftest import tiny_model
    from tests.training.conftest import quick

    save_model(folder / "model", tiny_model())
    synth(200, 1, out=folder / "reviews.txt")
    prepare(folder / "reviews.txt", folder / "data", workers=1, min_count=1, split=(0.6, 0.2, 0.2))
    changes = {
        "wide__bits": 10,
        "vectors__enabled": False,
        "train__checkpoint_every": 1,
        "train__max_tokens": 16,
        "train__threads_per_rank": 1,
    }
    settings = quick(**changes, train__layout="1x1", model__embedding_dim=4, model__hidden_dim=4)
    train(folder / "data", folder / "checkpoint", settings)
    run = folder / "checkpoint"
    shutil.rmtree(sorted(run.glob("checkpoints/step-*"))[-1])  # something remains to be done
    for name in ("model", "plots", "train.log"):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink(missing_ok=True)


def use_model(folder: Path, undamaged: Path) -> list[float]:
    from sentiscale.inference.explain import explain
    from sentiscale.inference.predictor import Predictor

    predictor = Predictor.load(folder)
    found = [prediction.positive_probability for prediction in predictor.predict(list(TEXTS))]
    return found + [word.contribution for word in explain(predictor, TEXTS[:2])[1].words]


def use_data(folder: Path, undamaged: Path) -> list[Any]:
    import numpy as np

    from sentiscale.data.prepared import SPLITS, PreparedDataset
    from sentiscale.inference.evaluate import evaluate
    from sentiscale.report.eda_counts import count_lengths, count_words
    from sentiscale.util.progress import Progress

    dataset = PreparedDataset.open(folder)
    use = count_words(dataset, Progress())
    answer: list[Any] = [
        int(use.words.sum()),
        int(use.pair_table.sum()),
        count_lengths(dataset).sum(axis=1).tolist(),
    ]
    for name in SPLITS:
        split = dataset.split(name)
        arrays = split.tokens, split.offsets, split.labels
        answer.append(sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest())
    scores = evaluate(undamaged / "model", folder)
    return [*answer, scores.accuracy, scores.loss, dataset.vocab.words]


def use_checkpoint(folder: Path, undamaged: Path) -> list[Any]:
    from safetensors.numpy import load_file

    from sentiscale.training.launch import train

    train(undamaged / "data", folder, resume=True)
    weights = load_file(folder / "model" / "weights.safetensors")
    answer = [sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()]
    return [*answer, float(sum(value.astype(float).sum() for value in weights.values()))]


USES: dict[str, Callable[[Path, Path], list[Any]]] = {
    "model": use_model,
    "data": use_data,
    "checkpoint": use_checkpoint,
}


def sign(subject: str, folder: Path) -> None:
    """Make all digests match the files, if they can be read."""
    from sentiscale.data.prepared import content_digest
    from sentiscale.model.files import DIGESTS, FILES
    from sentiscale.util.digests import file_digest

    try:
        if subject == "model":
            digests = {name: file_digest(_regular(folder / name)) for name in FILES}
            _regular(folder / DIGESTS).write_text(json.dumps(digests))
        elif subject == "data":
            path = _regular(folder / "manifest.json")
            manifest = json.loads(path.read_text())
            manifest["files"] = {name: file_digest(_regular(folder / name)) for name in manifest["files"]}
            profile = manifest["cleaning"], manifest["cleaning_version"]
            manifest["digest"] = content_digest(manifest["files"], *profile)
            path.write_text(json.dumps(manifest))
        else:
            for path in folder.glob("checkpoints/step-*/state.json"):
                state = json.loads(_regular(path).read_text())
                state["digests"] = {
                    name: sha256(_regular(path.parent / name).read_bytes()).hexdigest()
                    for name in state["digests"]
                }
                content = {key: value for key, value in state.items() if key != "digest"}
                state["digest"] = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
                path.write_text(json.dumps(state))
    except (ValueError, TypeError, LookupError, OSError, AttributeError, RecursionError):
        return


def _regular(path: Path) -> Path:
    if not path.is_file() or path.stat().st_size > 2**24:
        raise OSError(f"{path} is no file to sign")
    return path


def serve(undamaged: Path) -> None:
    """Use what each line on stdin names, in a forked process; answer each with a line of JSON."""
    import torch

    from sentiscale.training import finish

    torch.set_num_threads(1)  # threads would not exist in forked processes
    finish.plot_curves = lambda *_: None  # most of the time of resuming this small run
    for subject in SUBJECTS:
        copy = shutil.copytree(undamaged / subject, undamaged / "warm" / subject)
        USES[subject](copy, undamaged)  # load everything, and compile
    for line in sys.stdin:
        subject, folder = json.loads(line)
        print(json.dumps(forked(lambda: USES[subject](Path(folder), undamaged))), flush=True)  # noqa: B023


def forked(use: Callable[[], list[Any]]) -> dict[str, Any]:
    """Call a function in a forked process: its answer, or what became of the process."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        _child(use, write)
    os.close(write)
    content, deadline = b"", time.monotonic() + SECONDS
    while True:
        ready, _, _ = select.select([read], [], [], max(0, deadline - time.monotonic()))
        part = os.read(read, 2**16) if ready else b""
        if not part:
            break
        content += part
    os.close(read)
    if not ready:
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    if not ready:
        return {"hang": SECONDS}
    if os.WIFSIGNALED(status):
        return {"crash": signal.Signals(os.WTERMSIG(status)).name}
    return json.loads(content) if content else {"crash": f"exit status {os.WEXITSTATUS(status)}"}


def _child(use: Callable[[], list[Any]], write: int) -> None:
    from sentiscale.errors import DataError, SentiscaleError, UsageError

    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 2)
    try:
        found: dict[str, Any] = {"answer": use()}
    except (DataError, UsageError) as error:
        found = {"refused": str(error)}
    except SentiscaleError as error:
        found = {"stopped": str(error)}
    except BaseException as error:
        found = {
            "exception": f"{type(error).__name__}: {error}"[:2000],
            "where": traceback.format_exc()[-3000:],
        }
    with open(write, "w") as file:
        json.dump(found, file)
    os._exit(0)


@dataclass
class Outcome:
    kind: str
    """refused, same, changed as allowed, or one of FAILURES."""
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


class Fuzzer:
    """Damages copies of the subjects and asks the serving process to use them."""

    def __init__(self, folder: Path, serving: "subprocess.Popen[str]") -> None:
        self.folder = folder
        self.serving = serving
        self.answers = {}
        for subject in SUBJECTS:
            found = self._use(subject)
            assert "answer" in found, found
            self.answers[subject] = found["answer"]

    def try_case(self, case: Case) -> Outcome:
        found = self._use(case.subject, case)
        for kind in ("hang", "crash", "exception"):
            if kind in found:
                return Outcome(kind, f"{found[kind]}\n{found.get('where', '')}")
        if "stopped" in found and not case.signed:
            return Outcome("exception", found["stopped"])
        if "refused" in found or "stopped" in found:
            return Outcome("refused", found.get("refused") or found["stopped"])
        answer = found["answer"]
        if answer == self.answers[case.subject]:
            return Outcome("same")
        if not all(math.isfinite(value) for value in answer if isinstance(value, float)):
            return Outcome("not finite", str(answer)[:500])
        unsigned = case.subject == "model" and found["unsigned"]
        return Outcome("changed as allowed" if case.signed or unsigned else "changed", str(answer)[:500])

    def _use(self, subject: str, case: Case | None = None) -> dict[str, Any]:
        copy = self.folder / "case"
        shutil.copytree(self.folder / subject, copy)
        try:
            for mutation in case.mutations if case else ():
                damage(copy, mutation)
            if case and case.signed:
                sign(subject, copy)
            unsigned = not (copy / "digests.json").exists()
            assert self.serving.stdin is not None
            assert self.serving.stdout is not None
            print(json.dumps([subject, str(copy)]), file=self.serving.stdin, flush=True)
            return {"unsigned": unsigned, **json.loads(self.serving.stdout.readline())}
        finally:
            shutil.rmtree(copy)


@contextmanager
def fuzzer() -> Iterator[Fuzzer]:
    """Make the subjects in a temporary folder, and start the process that uses their damaged copies."""
    with tempfile.TemporaryDirectory(prefix="sentiscale-fuzz-") as name:
        folder = Path(name)
        make_subjects(folder)
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        command = [sys.executable, "-m", "tests.fuzz.damaged_files", "--serve", str(folder)]
        with subprocess.Popen(
            command,
            stdin=-1,
            stdout=-1,
            text=True,
            env=os.environ | one_thread,
            cwd=Path(__file__).parents[2],
        ) as serving:
            try:
                yield Fuzzer(folder, serving)
            finally:
                serving.kill()


def run(seconds: float, seed: int) -> int:
    """Try cases for a time; print what came out and each kind of failure once; return their number."""
    counts: Counter[tuple[str, str]] = Counter()
    failures: set[str] = set()
    with fuzzer() as fuzz:
        end = time.monotonic() + seconds

        def try_one(case: Case) -> None:
            if time.monotonic() > end:
                return
            outcome = fuzz.try_case(case)
            signed = "digests match" if case.signed else "digests as they were"
            for group in {
                "all",
                f"{case.subject}, {signed}",
                *(mutation.kind for mutation in case.mutations),
            }:
                counts[group, outcome.kind] += 1
            place = outcome.kind + "\n".join(outcome.detail.splitlines()[-3:])
            if outcome.failed and place not in failures:
                failures.add(place)
                print(f"{outcome.kind}: {outcome.detail}\n{case!r}\n", flush=True)

        while time.monotonic() < end:
            seed += 1
            with_seed(seed)(OPTIONS(given(cases)(try_one)))()
    kinds = ("refused", "same", "changed as allowed", *FAILURES)
    print(f"| cases with | {' | '.join(kinds)} |\n|{'---|' * (1 + len(kinds))}")
    for group in dict.fromkeys(group for group, _ in sorted(counts)):
        print(f"| {group} | {' | '.join(str(counts[group, kind]) for kind in kinds)} |")
    return len(failures)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", help="a case as it was printed")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given_ = parser.parse_args()
    if given_.serve:
        serve(given_.serve)
    elif given_.repeat:
        with fuzzer() as fuzz:
            outcome = fuzz.try_case(eval(given_.repeat, {"Case": Case, "Mutation": Mutation}))
            print(f"{outcome.kind}: {outcome.detail}")
    else:
        sys.exit(run(given_.seconds, given_.seed) > 0)


if __name__ == "__main__":
    main()
