"""Where does a training step spend its time, and what share of the cores' peak does it reach?

Run:      python benchmarks/profile_step.py DATA [--steps 60] [--set section.key=value ...]
Fixed:    default settings unless --set; a fresh network; the first 10 steps are left out
Timed:    each phase of a step by the loop's own clock; operators by torch.profiler in a second pass
Expect:   about 30 s on 2 cores; most of the time in oneDNN's LSTM, forward and backward
Not for:  absolute speed: the profiler slows the second pass down
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from sentiscale.config import Settings, resolve
from sentiscale.data.prepared import PreparedDataset
from sentiscale.model.network import step_flops
from sentiscale.parallel.cpu import flushed_denormals, gemm_peak_gflops, torch_threads
from sentiscale.parallel.world import single_rank
from sentiscale.records import PhaseTimes
from sentiscale.training.clock import PhaseClock
from sentiscale.training.hardware import Hardware
from sentiscale.training.step import Learner, rank_batches, runner_config, train_steps
from sentiscale.util.memory import reused_memory

WARM_UP = 10

Steps = Callable[[int], tuple[PhaseTimes, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    settings = resolve(overrides=arguments.set)
    hardware = Hardware.choose(settings)
    dataset = PreparedDataset.open(arguments.data)
    world = single_rank(hardware.device)
    learner = Learner.build(runner_config(settings, hardware, dataset.manifest.vocab_size), world)
    clock = PhaseClock()
    batches = rank_batches(dataset.split("train"), settings.train, world, clock)
    results = train_steps(learner, batches, lambda step: 1e-3, settings.train.max_norm, clock)

    def steps(number: int) -> tuple[PhaseTimes, int]:
        clock.reset()
        padded = sum(next(results).batch.ids_BT.size for _ in range(number))
        return clock.times(), padded

    with flushed_denormals(), reused_memory(), torch_threads(hardware.threads):
        report(settings, hardware, steps, arguments.steps)


def report(settings: Settings, hardware: Hardware, steps: Steps, number: int) -> None:
    steps(WARM_UP)
    times, padded = steps(number)
    total = times.step_seconds
    dtype = torch.bfloat16 if hardware.precision.name == "bf16" else torch.float32
    peak = gemm_peak_gflops(hardware.threads, dtype) * 1e9
    operations = step_flops(settings.model, 1, padded)
    print(f"{hardware.precision.name}, {hardware.threads} threads, peak {peak / 1e9:.0f} GFLOP/s")
    print(f"{1000 * total / number:.1f} ms a step, {padded / total:,.0f} padded tokens/s")
    for name in ("data", "compute", "reduce", "update"):
        print(f"  {name:8} {100 * getattr(times, name) / total:5.1f} %")
    whole, compute = operations / total / peak, operations / times.compute / peak
    print(f"share of peak: {whole:.3f} whole step, {compute:.3f} compute")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        steps(20)
    print(
        profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=44)
    )


if __name__ == "__main__":
    main()
