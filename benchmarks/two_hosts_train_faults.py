"""Training on two hosts: how soon does all end when a rank, a host or the link fails, and who says why?

Run:      sudo python benchmarks/two_hosts_train_faults.py DATA [--cases a,b] [--out RECORDS.jsonl]
Setting:  as in two_hosts_train.py: `torchrun --nnodes 2` with a c10d rendezvous on host `one`, one rank a
          host, layout 2x1, links of 1 Gbit, a disk that both hosts share
Fixed:    everything but the fault, which comes once the first checkpoint is there (step 40)
Timed:    from the fault until torchrun has ended on each host, and until no process is left on either
Expect:   both ended within 10 s by themselves, one message naming rank, host and phase, nothing left;
          restarted runs end with the weights of an undisturbed one; about 25 s a case
Not for:  hosts whose clocks or disks fail separately
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import provenance
from namespaces import Network, why_not
from torchrun_pair import HOSTS, Pair
from two_hosts_train import difference, last_weights

from sentiscale.records import now

CHECKPOINT_EVERY = 40
STEPS = 160
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="prepared data")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, help="JSON lines; new ones are appended")
    arguments = parser.parse_args()
    if reason := why_not():
        sys.exit(f"two hosts cannot be made here: {reason}")
    about = provenance()
    with tempfile.TemporaryDirectory(prefix="two-hosts-") as name:
        folder = Path(name)
        for case in arguments.cases.split(","):
            record = {"part": "faults", "case": case, **measure(case, arguments.data.absolute(), folder)}
            print(json.dumps(record), flush=True)
            if arguments.out:
                with open(arguments.out, "a") as out:
                    out.write(json.dumps({**record, "started_at": str(now()), **about}) + "\n")


def measure(case: str, data: Path, folder: Path) -> Row:
    """Run a case; a restarted run is compared with one that was not disturbed."""
    disturb, restarts = CASES[case]
    run = folder / case
    with Network(HOSTS, "1gbit") as network, Pair(network, folder, restarts=restarts) as pair:
        pair.start("sentiscale", command_of(data, run))
        if disturb is not nothing:
            pair.wait_for(lambda: any((run / "checkpoints").glob("step-*")))
            pair.fault_now()
            disturb(pair)
        endings = pair.ended()
        left, gone = pair.left()
        found: Row = {
            "endings": {
                host: {"code": ending.code, "seconds": ending.seconds} for host, ending in endings.items()
            },
            "left": left,
            "all_gone_seconds": gone,
            "messages": {host: pair.messages(host) for host in HOSTS},
            "checkpoints": sorted(path.name for path in (run / "checkpoints").glob("step-*")),
        }
        if (run / "record.json").exists():
            record = json.loads((run / "record.json").read_text())
            found |= {"status": record["status"], "steps": record["steps"]}
    if restarts and disturb is not nothing:
        undisturbed = folder / "undisturbed"
        if not undisturbed.exists():
            measure("undisturbed", data, folder)
        found["largest_weight_difference"] = difference(last_weights(run), last_weights(undisturbed))
    return found


def command_of(data: Path, run: Path) -> list[str | Path]:
    """The arguments of the command."""
    rows = json.loads((data / "manifest.json").read_text())["rows"]["train"]
    epochs = str(STEPS * 128 / rows)
    steps = ["--batch-size", "128", "--epochs", epochs, "--checkpoint-every", str(CHECKPOINT_EVERY)]
    own = ["--layout", "2x1", "--threads-per-rank", "1", "--no-wide", "--quiet"]
    return ["train", data, "--out", run, *steps, *own, "--set", "train.keep_checkpoints=100"]


def nothing(pair: Pair) -> None:
    """Leave it alone."""


def kill_host(pair: Pair) -> None:
    """A host that is switched off: nobody says goodbye."""
    pair.network.set_link("two", "down")
    pair.network.kill_all("two")


def kill_agent(pair: Pair) -> None:
    """Kill torchrun itself on one host."""
    rank = pair.rank_on("two")
    rank.parent().kill()


def terminate_all(pair: Pair) -> None:
    """What a batch system does before the time limit."""
    for host in HOSTS:
        pair.rank_on(host).parent().terminate()


Case = tuple[Callable[[Pair], None], int]
CASES: dict[str, Case] = {
    "undisturbed": (nothing, 0),
    "rank-1-killed": (lambda pair: pair.rank_on("two").kill(), 0),
    "rank-0-killed": (lambda pair: pair.rank_on("one").kill(), 0),
    "rank-1-stopped": (lambda pair: pair.rank_on("two").send_signal(signal.SIGSTOP), 0),
    "agent-killed": (kill_agent, 0),
    "link-down": (lambda pair: pair.network.set_link("two", "down"), 0),
    "host-off": (kill_host, 0),
    "terminated": (terminate_all, 0),
    "rank-1-killed-restart": (lambda pair: pair.rank_on("two").kill(), 1),
    "rank-1-stopped-restart": (lambda pair: pair.rank_on("two").send_signal(signal.SIGSTOP), 1),
}

if __name__ == "__main__":
    main()
