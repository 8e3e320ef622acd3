"""What does a fault in one rank of a training run cost: seconds until all has ended, and lost work?

Run:      python benchmarks/bench_faults.py DATA --out DIR [--faults killed,stopped,...]
Setting:  `train` with layout 2x1 on prepared data, a checkpoint every 25 steps, a fault in rank 1 at step 40
Fixed:    0.03 epochs of the default network without the wide part     Varies: what goes wrong
Timed:    from the moment of the fault until `train` has raised its error and no rank is left
Checked:  the message; the last checkpoint is sound; after --resume the final weights are, bit for bit, those
          of a run that nothing happened to; with `max_restarts` 1 the run gets there by itself
Expect:   every fault ends within 10 s; about 4 min on 2 cores
Not for:  faults of several machines (two_hosts_train.py)
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from measured import provenance
from safetensors.numpy import load_file

from sentiscale.config import Settings, resolve
from sentiscale.errors import SentiscaleError
from sentiscale.records import now
from sentiscale.training import rank
from sentiscale.training.checkpoint import saved_checkpoints, verify
from sentiscale.training.launch import train

FAULTS = ("killed", "stopped", "interpreter held", "raises", "out of memory", "NaN")
FAULT_STEP = 40
SAVE_EVERY = 25
EPOCHS = 0.03
"""About a hundred steps of the real reviews."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faults", default=",".join(FAULTS))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True)
    train(arguments.data, arguments.out / "undisturbed", settings())
    print("| fault in rank 1 | seconds to the end | lost | resumed = undisturbed | by itself | message |")
    print("|---|---|---|---|---|---|")
    for fault in arguments.faults.split(","):
        found = suffer(fault, arguments.data, arguments.out)
        about = {"at": now().isoformat(), **provenance()}
        with open(arguments.out / "faults.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(found | about) + "\n")
        message = found["message"]
        print(
            f"| {fault} | {found['seconds']:.1f} | {found['lost_steps']} steps | {found['resumed_equal']} "
            f"| {found['restarted_equal']} | {message} |",
            flush=True,
        )


def settings(max_restarts: int = 0) -> Settings:
    """A short run that saves often."""
    flags = {"layout": "2x1", "checkpoint_every": SAVE_EVERY, "max_restarts": max_restarts}
    flags |= {"epochs": EPOCHS, "batch_size": 64, "validate_every": 100.0}
    values: dict[str, Any] = {f"train.{name}": value for name, value in flags.items()}
    return resolve(flags={**values, "wide.enabled": False})


def suffer(fault: str, data: Path, out: Path) -> dict[str, Any]:
    """Let it happen; look at what is left; go on from there, by hand and by itself."""
    name = fault.replace(" ", "-")
    run, mark = out / name, out / f"{name}.time"
    plant(fault, mark)
    message = "no error"
    try:
        train(data, run, settings())
    except SentiscaleError as error:
        message = str(error)
    seconds = time.time() - float(mark.read_text())
    orphans = [process.pid for process in psutil.process_iter() if is_rank_of(process, mark)]
    state = verify(saved_checkpoints(run / "checkpoints")[-1])
    plant("nothing", mark)
    train(data, run, resume=True)
    plant(fault, alone := out / f"{name}-restarted.time")
    train(data, out / f"{name}-restarted", settings(max_restarts=1))
    assert alone.exists()
    return {
        "fault": fault,
        "seconds": seconds,
        "message": message.splitlines()[0],
        "orphans": orphans,
        "lost_steps": FAULT_STEP - state.step,
        "resumed_equal": same_weights(run, out / "undisturbed"),
        "restarted_equal": same_weights(out / f"{name}-restarted", out / "undisturbed"),
    }


def plant(fault: str, mark: Path) -> None:
    """Make `train` start faulty ranks."""
    script = Path(__file__).with_name("faulty_rank.py")
    tail = [fault, str(FAULT_STEP), str(mark)]
    rank.command = lambda job, quiet: [sys.executable, str(script), str(job), *tail]


def is_rank_of(process: psutil.Process, mark: Path) -> bool:
    """Whether a process is one of those ranks."""
    try:
        return str(mark) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def same_weights(run: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, bit for bit."""
    newest = [saved_checkpoints(each / "checkpoints")[-1] for each in (run, other)]
    files = [sorted(path.glob("*.safetensors")) for path in newest]
    pairs = [(load_file(a), load_file(b)) for a, b in zip(*files, strict=True)]
    return all((first[key] == second[key]).all() for first, second in pairs for key in first)


if __name__ == "__main__":
    main()
