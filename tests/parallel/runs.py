"""Whole training runs on any mesh, in ranks of `run_world` or of the real command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from safetensors.numpy import load_file

from sentiscale.config import resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.parallel.collectives import only_rank_0
from sentiscale.parallel.precision import Precision
from sentiscale.parallel.world import World
from sentiscale.records import RunRecord
from sentiscale.training import finish, loop
from sentiscale.training.hardware import Hardware, RankContext
from sentiscale.training.run import TrainJob
from sentiscale.training.run_directory import RunDir
from sentiscale.training.setup import open_run
from sentiscale.util.progress import Progress

BASE = {
    "model.embedding_dim": 8,
    "model.hidden_dim": 8,
    "wide.enabled": False,
    "train.epochs": 2.0,
    "train.batch_size": 32,
    "train.validate_every": 0.5,
    "train.max_tokens": 48,
    "train.precision": "fp64",
    "train.checkpoint_every": 4,
    "train.warmup_steps": 5,
}

Flags = dict[str, object]


def train_here(
    world: World, data: Path, out: Path, flags: Flags, resume: bool = False, kill_at: int | None = None
) -> dict[str, object]:
    """What `sentiscale train` does in each rank that its launcher has started; maybe killed before a step."""
    settings = resolve(flags={**BASE, **flags, "train.layout": str(world.layout)})
    dataset = PreparedDataset.open(data)
    train = settings.train.resolved(dataset.manifest.rows["train"])
    run_dir = RunDir(out)
    job = TrainJob(dataset, run_dir, settings.model_copy(update={"train": train}), resume=resume)
    precision = Precision(train.precision)
    hardware = Hardware(world.layout, torch.device("cpu"), precision, 1, world.layout.world_size, False)
    only_rank_0(world, lambda: run_dir.create(resume=resume, force=False))
    # Pictures take as long as all the rest, and have tests of their own.
    with (
        patch.object(loop, "count_step", dying_at(kill_at)),
        patch.object(finish, "plot_curves"),
        open_run(job, RankContext(world, hardware), Progress()) as training,
    ):
        loop.fit(training, Progress())
        record = finish.finish(training)
    return json.loads(record.model_dump_json())


def dying_at(kill_at: int | None):
    """`count_step` that kills its own process at a step, as if the machine were switched off."""
    count_step = loop.count_step

    def mortal(training, result):
        if result.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count_step(training, result)

    return mortal


def command(data: Path, out: Path, flags: Flags, *arguments: str) -> list[str]:
    """A real `sentiscale train` of the same run."""
    pairs = {**BASE, **flags}.items()
    overrides = [part for key, value in pairs for part in ("--set", f"{key}={json.dumps(value)}")]
    return [sys.executable, "-m", "sentiscale", "train", str(data), "--out", str(out), *overrides, *arguments]


def start(words: list[str]) -> subprocess.Popen[str]:
    """Start it as the leader of a session, so that `kill_all` reaches its ranks."""
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_checkpoint(run: Path, process: subprocess.Popen[str], beyond: int = 0) -> None:
    """Return as soon as there is a checkpoint of a later step."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if any(step_of(path) > beyond for path in checkpoints(run)):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no checkpoint appeared")


def checkpoints(run: Path) -> list[Path]:
    """Oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name[5:])


def last_weights(run: Path) -> dict[str, np.ndarray]:
    """The network and Adam's averages after the last step, put together from the parts of any layout."""
    newest, found = checkpoints(run)[-1], {}
    for file in newest.glob("stage-*.safetensors"):
        found |= load_file(file)
    parts = [load_file(file) for file in sorted(newest.glob("rows-*.safetensors"))]
    for name in parts[0]:
        whole = np.concatenate([part[name] for part in parts])
        for replica, part in enumerate(parts):
            whole[replica :: len(parts)] = part[name]
        found[name] = whole
    return {name: value for name, value in found.items() if not name.startswith("best/")}


def saved_weights(run: Path) -> dict[str, np.ndarray]:
    """The model directory's: those of the best validation, 32 bits."""
    return load_file(run / "model" / "weights.safetensors")


def distance(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    """The largest difference between two sets of weights; 0 means the same bits."""
    assert first.keys() == second.keys()
    return max(float(np.abs(value - second[name]).max()) for name, value in first.items())


def record_of(run: Path) -> RunRecord:
    return RunDir(run).read_record()
