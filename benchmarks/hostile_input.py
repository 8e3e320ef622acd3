"""What does `sentiscale serve` do with requests that mean harm: does one crash it, fill it or hold it up?

Run:      python benchmarks/hostile_input.py MODEL --out hostile-input_HOST_DATE.md [--only slow,unread]
Attacks:  those of tests/serving/hostile.py and attacks.py, one after the other, against a service with its
          own limits and two workers; then one that takes 16 MB and 10,000 texts, and one that wants a key
Asked:    what came back; resident memory of front and workers together, before, at most and 2 s after;
          how long the next ordinary review takes (at most 2 s are allowed); what the log says
Right:    every answer is one that is allowed, no answer is 500, no worker was lost but the one that is
          killed on purpose, nothing failed inside, memory comes back to within 100 MiB of before
Expect:   about 5 minutes, most of it waiting for clients that send or read a byte a second
Not for:  how much a service stands (bench_serve.py); a flood from many machines
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from measured import provenance
from results_page import heading

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
from tests.serving import attacks
from tests.serving.hostile import Result
from tests.serving.running_service import RunningService, running_service

MIB = 2**20
KEY = "0123456789abcdef0123"
LONGEST_ANSWER_S = 2.0
MOST_GROWTH_MIB = 100.0
"""Libraries keep some of what they once took."""
REST_S = 2.0

Attack = tuple[str, str, Callable[[RunningService], list[Result]]]
"""A word for --only, what is tried, and how."""

USUAL: Sequence[Attack] = (
    ("bodies", "bodies: deep, wrong, huge, compressed, badly encoded", attacks.bodies),
    ("http", "what is no HTTP, or two requests in one (smuggling)", attacks.no_http),
    ("paths", "paths to files: dots, encoded dots, NUL, 10,000 characters", attacks.paths),
    ("sites", "pages of other sites, names that lead here", attacks.sites),
    ("methods", "other methods and paths, a web socket", attacks.methods),
    ("texts", "odd texts and every control character", attacks.odd_texts),
    ("explained", "the same, to be explained", partial(attacks.odd_texts, explain=True)),
    ("announced", "100 MB announced", attacks.announced_100_mb),
    ("100mb", "100 MB sent in spite of the refusal", attacks.sent_100_mb),
    ("heads", "heads, paths and trailers of 1 MB, 100,000 headers", attacks.endless_heads),
    ("slow", "a byte a second", attacks.tricklers),
    ("idle", "2,000 connections that say nothing", attacks.idle),
    ("unread", "50 clients that never read their 60 answers", attacks.unread),
    ("readers", "20 clients that read theirs at 512 bytes a second", attacks.slow_readers),
    ("pipelined", "20,000 requests behind a slow one, 20 times at once", attacks.pipelined),
    ("padded", "150 bodies of 1 MB that wait at once", attacks.padded),
    ("logs", "ids and paths that would forge log lines", attacks.forged_logs),
    ("leaving", "200 clients that leave at once", attacks.left_early),
    ("killed", "kill -9 of a worker under load", attacks.killed),
)
ROOMY: Sequence[Attack] = (("large", "limits raised: texts of 1 MB, 10,000 texts", attacks.large_texts),)
KEYED: Sequence[Attack] = (("keys", "wrong keys, for a service with one", partial(attacks.keys, key=KEY)),)
ROOM = ("--max-body-kb", 16384, "--max-characters", 4_000_000, "--max-texts", 10_000, "--queue", 20_000)


@dataclass(frozen=True)
class Stood:
    """What one attack did."""

    what: str
    came: list[Result]
    memory: tuple[float, float, float]
    """MiB of all processes: before, at most, after a rest."""
    answered_s: float
    """Until an ordinary review was answered afterwards."""
    faults: int
    """What failed inside, and workers lost, by the log."""

    @property
    def wrong(self) -> list[str]:
        """What is not as it should be, in words."""
        found = [f"{came.case}: {came.got}" for came in self.came if not came.is_right]
        if self.answered_s > LONGEST_ANSWER_S:
            found.append(f"the next review took {self.answered_s:.1f} s")
        if self.memory[2] > self.memory[0] + MOST_GROWTH_MIB:
            found.append(f"{self.memory[2] - self.memory[0]:.0f} MiB were kept")
        return found + ([f"{self.faults} faults in the log"] if self.faults else [])

    @property
    def counted(self) -> str:
        """What came back, the commonest first."""
        counts = Counter(came.got for came in self.came)
        return ", ".join(f"{got} ({count})" if count > 1 else got for got, count in counts.most_common())


def stood(what: str, attack: Callable[[RunningService], list[Result]], service: RunningService) -> Stood:
    """Attack, and look at what is left."""
    before, faults = resident(service), faults_of(service)
    with watched(service) as seen:
        came = attack(service)
    started_at = time.perf_counter()
    status = service.predict("not bad at all").status
    answered_s = time.perf_counter() - started_at
    came = [*came, *([Result("the next review", str(status), ())] if status != 200 else [])]
    time.sleep(REST_S)
    after = resident(service)
    killed = 1 if attack is attacks.killed else 0
    memory = (before, max(*seen, after), after)
    return Stood(what, came, memory, answered_s, faults_of(service) - faults - killed)


def faults_of(service: RunningService) -> int:
    """How often something failed inside or a worker was lost so far."""
    return sum(len(service.events(name)) for name in ("failed", "worker_lost", "batch_raised"))


def resident(service: RunningService) -> float:
    """Resident MiB of all its processes."""
    total = 0
    for process in (psutil.Process(service.process.pid), *service.workers()):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total / MIB


@contextmanager
def watched(service: RunningService) -> Iterator[list[float]]:
    """Look at the memory every 50 ms."""
    seen, ended = [resident(service)], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            seen.append(resident(service))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def tried(model: Path, only: Sequence[str], folder: Path) -> Iterator[Stood]:
    """All attacks that are wanted."""
    (folder / "key").write_text(KEY)
    for chosen, options in (
        (USUAL, ()),
        (ROOMY, (*ROOM, "--timeout-s", 60)),
        (KEYED, ("--api-key-file", folder / "key")),
    ):
        wanted = [attack for attack in chosen if not only or attack[0] in only]
        if not wanted:
            continue
        with running_service(model, folder, "--workers", 2, "--log-format", "json", *options) as service:
            service.wait_for("worker_started")
            if chosen is KEYED:
                service.headers = {"Authorization": f"Bearer {KEY}"}
            for _ in range(20):  # what libraries take once belongs to before
                service.predict(*["not bad at all " * 40] * 16)
            service.predict("not bad at all " * 40, explain=True)
            for _, what, attack in wanted:
                found = stood(what, attack, service)
                told = "; ".join(found.wrong) or "ok"
                print(f"{what}: {found.counted}: {told}", file=sys.stderr)
                yield found


def page(found: Sequence[Stood], head: Sequence[str]) -> str:
    """The table."""
    lines = [
        *head,
        "Memory is resident MiB of the front process and two workers: before, at most, 2 s after. The last "
        "columns: how long an ordinary review then took, and what was not as it should be.",
        "",
        "| tried | requests | came back (times) | memory | next review | |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        memory = " / ".join(f"{mib:.0f}" for mib in each.memory)
        wrong = "; ".join(each.wrong) or "ok"
        lines.append(
            f"| {each.what} | {len(each.came)} | {each.counted} | {memory} "
            f"| {1000 * each.answered_s:.0f} ms | {wrong} |"
        )
    lines += ["", "## Case by case", ""]
    for each in found:
        cases = "; ".join(f"{came.case}: {came.got}" for came in each.came)
        lines += [f"**{each.what}.** {escaped(cases)}", ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text that Markdown takes as it is."""
    shown = ascii(text)[1:-1].replace("\\\\", "\\")
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|" else sign for sign in shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="model directory")
    parser.add_argument("--only", default="", help="words of attacks, comma between; default: all")
    parser.add_argument("--out", type=Path, required=True, help="the page to write")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else []
    name = f"{arguments.model.resolve().parent.name}/{arguments.model.name}"
    head = heading(
        "What was tried against the service, and what came of it",
        f"python benchmarks/hostile_input.py {name} --out {arguments.out.name}",
        provenance(),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = list(tried(arguments.model, only, Path(folder)))
    arguments.out.write_text(page(found, head), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))
    sys.exit(1 if any(each.wrong for each in found) else 0)


if __name__ == "__main__":
    main()
