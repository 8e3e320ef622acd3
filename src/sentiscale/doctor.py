"""Examine this machine for what sentiscale needs: a list of findings, each with its remedy."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
from pydantic import computed_field

from sentiscale.parallel.layout import LEAST_ROWS, Layout, usual_layout
from sentiscale.records import Host, Record, available_cores
from sentiscale.util.progress import Progress

if TYPE_CHECKING:  # a torch that cannot be loaded is one of the findings
    from torch import Tensor, nn

Status = Literal["ok", "warning", "problem"]


class Check(Record):
    """One line of the report."""

    name: str
    """What was looked at."""
    status: Status
    """ok: as it should be. warning: works, but worse than it could. problem: does not."""
    value: Any = None
    """What was found, for programs: a number, a text or a mapping of them."""
    detail: str
    """The same for people, with units."""
    remedy: str | None = None
    """What to do about it; set unless all is well."""


class Report(Record):
    """All checks, in the order they were made."""

    checks: list[Check]
    """One entry a check."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Status:
        """The worst of all checks."""
        found = {check.status for check in self.checks}
        return "problem" if "problem" in found else "warning" if "warning" in found else "ok"


def ok(name: str, value: Any, detail: str) -> Check:
    """All is well."""
    return Check(name=name, status="ok", value=value, detail=detail)


def warning(name: str, value: Any, detail: str, remedy: str) -> Check:
    """It works, but slower or less than it could."""
    return Check(name=name, status="warning", value=value, detail=detail, remedy=remedy)


def problem(name: str, value: Any, detail: str, remedy: str) -> Check:
    """Something sentiscale needs does not work."""
    return Check(name=name, status="problem", value=value, detail=detail, remedy=remedy)


def thread_count(threads: int) -> str:
    """Say it as a person does: "one thread", "4 threads"."""
    return "one thread" if threads == 1 else f"{threads} threads"


def examine(name: str, check: Callable[[], Check]) -> Check:
    """Make one check; if it breaks down, that is what it found."""
    try:
        return check()
    except Exception as error:  # a doctor must outlive whatever is broken, and say so
        return problem(
            name,
            None,
            f"{type(error).__name__}: {error}",
            "Reinstall with `make distclean setup`; if it stays, report this line.",
        )


BATCH_SIZE = 128
"""Rows of a step that training takes by default where there are more than a few."""


def doctor(*, quick: bool = False, folder: Path | None = None, progress: Progress | None = None) -> Report:
    """Check this machine; about 15 s, or 4 s with `quick`, which measures no speed and starts no process.

    Args:
        quick: only what needs no measuring.
        folder: where output will be written; the current directory if not given.
        progress: who is told how far it got.
    """
    checks = _plain_checks(folder or Path.cwd())
    found: list[Check] = []
    with (progress or Progress()).task("doctor", None, "checks") as advance:
        for name, check in checks.items():
            advance(1, name)
            found.append(examine(name, check))
        if found[-1].status != "problem":  # with a broken torch all the others would only say so again
            for name, check in _torch_checks(quick).items():
                advance(1, name)
                found.append(examine(name, check))
    found.append(choose_layout(found))
    return Report(checks=found)


def _plain_checks(folder: Path) -> dict[str, Callable[[], Check]]:
    return {
        "cores": check_cores,
        "load": check_load,
        "memory": check_memory,
        "disk": lambda: check_disk(folder),
        "libraries": check_libraries,
        "torch": check_torch,
    }


def _torch_checks(quick: bool) -> dict[str, Callable[[], Check]]:

    checks = {"threads": check_threads, "gpu": check_gpu, "lstm_kernel": check_lstm_kernel}
    if quick:
        return checks
    return checks | {
        "gemm_peak": check_gemm_peak,
        "lstm_step": check_lstm_step,
        "denormals": check_denormals,
        "bf16": check_bf16,
        "gloo": check_gloo,
        "nccl": check_nccl,
    }


def choose_layout(found: list[Check]) -> Check:
    """The layout that training takes here by itself, and why."""
    by_name = {check.name: check.value for check in found}
    cores = available_cores()
    layout = Layout(1, 1) if by_name.get("gpu") else usual_layout(BATCH_SIZE, cores)
    threads = cores // layout.world_size
    why = (
        "one process on the GPU" if by_name.get("gpu") else f"replicas of {LEAST_ROWS} rows of a step or more"
    )
    rates = by_name.get("lstm_step")
    if rates and layout.data > 1:
        most = max(rates, key=int)
        why += f"; {thread_count(int(most))} in one process are {rates[most] / rates['1']:.2f} times one"
    detail = f"{layout} with {thread_count(threads)} a rank: {why}; --layout auto measures on your data"
    return ok("layout", {"layout": str(layout), "threads": threads}, detail)


def check_torch() -> Check:
    """Version, instruction set and whether oneDNN, the CPU's fast path, is built in."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    value = {"version": torch.__version__, "cpu": capability, "onednn": onednn, "cuda": torch.version.cuda}
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    detail = f"{torch.__version__} for {built_for}, {capability} instructions"
    if not onednn:
        remedy = "Install an official torch build: without oneDNN, training an LSTM is many times slower."
        return warning("torch", value, f"{detail}, without oneDNN", remedy)
    return ok("torch", value, f"{detail}, with oneDNN")


def check_threads() -> Check:
    """Whether torch uses the cores it could use."""
    import torch

    threads, cores = torch.get_num_threads(), available_cores()
    asked = os.environ.get("OMP_NUM_THREADS")
    detail = f"torch uses {threads} of {cores} cores"
    if threads > cores:
        remedy = f"Set OMP_NUM_THREADS={cores}: threads that share a core wait for each other."
        return warning("threads", threads, detail, remedy)
    if threads < cores:
        reason = f"OMP_NUM_THREADS={asked}" if asked else "torch's own default"
        remedy = f"Unset OMP_NUM_THREADS, or set it to {cores}."
        return warning("threads", threads, f"{detail} ({reason})", remedy)
    return ok("threads", threads, detail)


def check_gpu() -> Check:
    """The graphics processor, if torch can use one."""
    import torch

    if torch.cuda.is_available():
        found, count = torch.cuda.get_device_properties(0), torch.cuda.device_count()
        value = {"name": found.name, "memory_mb": found.total_memory // 2**20, "count": count}
        return ok("gpu", value, f"{count} x {found.name}, {found.total_memory / 2**30:.0f} GiB each")
    if shutil.which("nvidia-smi"):
        detail = f"this machine has NVIDIA's driver, but torch {torch.__version__} cannot use it"
        remedy = "Install the CUDA build of the same torch version, or update the driver."
        return warning("gpu", None, detail, remedy)
    return ok("gpu", None, "none; everything runs on the CPU")


CGROUP = Path("/sys/fs/cgroup")
GIB = 2**30
LITTLE_MEMORY_GIB = 2.0
LITTLE_DISK_GIB = 2.0
TOO_LITTLE_DISK_GIB = 0.2


def check_cores() -> Check:
    """Cores this process may use, and whether a container's quota allows less than it shows."""
    host = Host.current()
    cores, quota = host.cores, cpu_quota()
    detail = f"{cores} usable, {host.cpu_model}"
    if quota is not None and quota < cores:
        return warning(
            "cores",
            {"usable": cores, "quota": quota},
            f"{detail}, but this container may use only {quota:g} of them",
            f"Raise the container's CPU limit, or run with OMP_NUM_THREADS={max(1, int(quota))}.",
        )
    return ok("cores", {"usable": cores, "quota": quota}, detail)


def check_load() -> Check:
    """Whether other programs are using the cores now."""
    load, cores = os.getloadavg()[0], available_cores()
    detail = f"{load:.2f} running processes on average over the last minute"
    if load > 0.5 * cores:
        remedy = "Stop other programs before measuring; timings taken now are too slow and uneven."
        return warning("load", round(load, 2), detail, remedy)
    return ok("load", round(load, 2), detail)


def check_memory(limit: Path = CGROUP / "memory.max") -> Check:
    """Memory there is, and memory left."""
    memory = psutil.virtual_memory()
    allowed = _read_number(limit)
    total = min(memory.total, allowed or memory.total)
    left = min(memory.available, total)
    value = {"total_mb": total // 2**20, "available_mb": left // 2**20}
    detail = f"{left / GIB:.1f} GiB of {total / GIB:.1f} GiB available"
    if left < LITTLE_MEMORY_GIB * GIB:
        remedy = f"Close other programs: preparing and training want {LITTLE_MEMORY_GIB:g} GiB."
        return warning("memory", value, detail, remedy)
    return ok("memory", value, detail)


def check_disk(folder: Path) -> Check:
    """Room to write prepared data and runs in `folder`."""
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free in {folder}"
    remedy = "Free some space, or write to another disk with --out."
    if not os.access(folder, os.W_OK):
        return warning(
            "disk", free // 2**20, f"{folder} is not writable", "Name a writable place with --out."
        )
    if free < TOO_LITTLE_DISK_GIB * GIB:
        return problem("disk", free // 2**20, detail, remedy)
    if free < LITTLE_DISK_GIB * GIB:
        return warning("disk", free // 2**20, detail, remedy)
    return ok("disk", free // 2**20, detail)


def check_libraries() -> Check:
    """Optional libraries; without them one verb is missing, nothing else."""
    name = "huggingface_hub"
    if importlib.util.find_spec(name) is None:
        detail = f"{name} is not installed; only `sentiscale fetch` needs it: pip install 'sentiscale[fetch]'"
        return ok("libraries", {name: None}, detail)
    return ok("libraries", {name: version(name)}, f"{name} {version(name)}")


def cpu_quota(file: Path = CGROUP / "cpu.max") -> float | None:
    """Cores' worth of time that a control group (a container) may use; None where there is no limit."""
    try:
        share, _, period = file.read_text(encoding="ascii").partition(" ")
        return int(share) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags as Linux names them; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def _read_number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


PROBE_SECONDS = 45.0
"""Limit for a whole probe; importing torch from a cold or shared disk can take most of it."""
GLOO_SECONDS = 15.0
"""Limit for two ranks to meet and to answer."""


def run_probe(name: str, *arguments: str) -> dict[str, Any]:
    """Run one probe in a fresh process and return what it found.

    Raises: RuntimeError with the process's last words when it fails or takes too long.
    """
    return finish_probe(start_probe(name, *arguments))


def start_probe(name: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a probe without waiting for it."""
    command = [sys.executable, "-m", "sentiscale.doctor", name, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_probe(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a probe and return what it found; it is stopped when it takes too long."""
    try:
        out, err = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer within {PROBE_SECONDS:.0f} s") from error
    finally:
        stop_probe(process)
    if process.returncode != 0:
        raise RuntimeError((err.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def stop_probe(process: subprocess.Popen[str]) -> None:
    """End a probe, if it has not ended by itself, and let go of everything it held."""
    process.kill()
    process.communicate()


def probe_denormals() -> dict[str, Any]:
    """Multiply denormals with and without flushing; see whether flushing reaches every thread.

    Flushing is a flag of each thread that threads inherit when they start, so it can only be judged in a
    process where no pool of threads has been started yet.
    """
    import torch

    torch.set_flush_denormal(True)
    tiny = torch.full((1 << 20,), 1e-41)  # below 1.2e-38, the smallest normal float32
    flushed_everywhere = bool((tiny * 0.5 == 0).all())  # large enough to be cut among all threads
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = torch.full((1 << 15,), 1e-41)
    seconds = {}
    for flush in (True, False):
        torch.set_flush_denormal(flush)
        small.mul(0.5)
        best = float("inf")
        for _ in range(7):
            started_at = time.perf_counter()
            for _ in range(20):
                small.mul(0.5)
            best = min(best, time.perf_counter() - started_at)
        seconds[flush] = best
    slowdown = seconds[False] / seconds[True]
    return {"flushed_everywhere": flushed_everywhere, "slowdown": round(slowdown, 2), "threads": threads}


def probe_all_reduce(backend: str, rank: str, world: str, meeting_file: str) -> dict[str, Any]:
    """Meet the other ranks over a file, sum a tensor with them and say how fast that went."""
    import torch
    from torch import distributed

    device = "cuda" if backend == "nccl" else "cpu"
    distributed.init_process_group(
        backend,
        init_method=f"file://{meeting_file}",
        rank=int(rank),
        world_size=int(world),
        timeout=timedelta(seconds=GLOO_SECONDS),
    )
    numbers = torch.ones(1 << 20, device=device)
    distributed.all_reduce(numbers)
    correct = bool((numbers == int(world)).all())
    started_at = time.perf_counter()
    distributed.all_reduce(numbers)
    seconds = time.perf_counter() - started_at
    distributed.destroy_process_group()
    return {"correct": correct, "megabytes_per_s": round(numbers.nbytes / 1e6 / seconds)}


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "denormals": probe_denormals,
    "all_reduce": probe_all_reduce,
}


ROWS, TOKENS, VOCABULARY, EMBEDDING, HIDDEN = 64, 96, 5000, 64, 64
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def _tiny_classifier() -> "nn.Module":
    """Embedding, LSTM over padded reviews, maximum over time, one logit: shaped like the real model."""
    from torch import nn

    class TinyClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
            self.recurrent = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
            self.head = nn.Linear(HIDDEN, 1)

        def forward(self, ids_BT: "Tensor") -> "Tensor":
            """Shape: ids_BT (B, T) int64; returns logits (B,)."""
            states_BTH, _ = self.recurrent(self.embedding(ids_BT))
            logits_B: Tensor = self.head(states_BTH.amax(dim=1)).squeeze(1)
            return logits_B

    return TinyClassifier()


def check_gemm_peak() -> Check:
    """Matrix multiplication on one core and on all: what training speed is judged against."""
    from sentiscale.parallel.cpu import gemm_peak_gflops

    cores = available_cores()
    peaks = {str(threads): round(gemm_peak_gflops(threads), 1) for threads in dict.fromkeys((1, cores))}
    detail = ", ".join(f"{peak:.0f} GFLOP/s on {thread_count(int(n))}" for n, peak in peaks.items())
    gain = peaks[str(cores)] / peaks["1"]
    if cores > 1 and gain < max(1.1, 0.3 * cores):
        return warning(
            "gemm_peak",
            peaks,
            f"{detail}: {cores} cores are worth {gain:.1f}",
            "Other programs, or other tenants of this machine, use the cores; measure again when it is idle.",
        )
    return ok("gemm_peak", peaks, detail)


def check_lstm_kernel() -> Check:
    """Whether a padded LSTM's training step takes oneDNN's fused kernel."""
    import torch

    from sentiscale.parallel.cpu import ran_on_onednn

    net = _tiny_classifier()
    logits_B = net(torch.randint(VOCABULARY, (4, 16)))
    logits_B.sum().backward()
    if ran_on_onednn(logits_B):
        return ok("lstm_kernel", "onednn", "a padded LSTM trains on oneDNN's fused kernel")
    return warning(
        "lstm_kernel",
        "generic",
        "an LSTM trains on torch's generic kernel, several times slower",
        "Use an official torch build for this processor, and leave torch.backends.mkldnn enabled.",
    )


def check_lstm_step() -> Check:
    """Reviews a second through forward, backward and update, on one thread and on all."""
    cores = available_cores()
    rates = {str(threads): round(lstm_rows_per_s(threads)) for threads in dict.fromkeys((1, cores))}
    detail = ", ".join(f"{rate:,} reviews/s on {thread_count(int(n))}" for n, rate in rates.items())
    detail += f" ({EMBEDDING} → {HIDDEN} units, {TOKENS} tokens)"
    if rates[str(cores)] < rates["1"]:
        return warning(
            "lstm_step",
            rates,
            f"{detail}: threads wait while other programs hold their cores",
            "Measure again when the machine is idle; if it never is, train with --threads-per-rank 1.",
        )
    return ok("lstm_step", rates, detail)


def lstm_rows_per_s(threads: int, seconds: float = 0.5) -> float:
    """Rows a second of a small LSTM's training steps on `threads` threads, measured for about `seconds`."""
    import torch
    from torch.nn import functional

    from sentiscale.parallel.cpu import torch_threads

    net = _tiny_classifier()
    optimizer = torch.optim.Adam(net.parameters())
    ids_BT, labels_B = torch.randint(VOCABULARY, (ROWS, TOKENS)), torch.rand(ROWS).round()

    def step() -> None:
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(net(ids_BT), labels_B))
        optimizer.step()
        optimizer.zero_grad()

    with torch_threads(threads):
        step()  # warm up: oneDNN prepares its kernels for these shapes
        started_at = time.perf_counter()
        steps, elapsed = 0, 0.0
        while elapsed < seconds:
            step()
            steps += 1
            elapsed = time.perf_counter() - started_at
    return steps * ROWS / elapsed


def check_denormals() -> Check:
    """Whether denormal numbers can be flushed to zero on every thread, and what they would cost."""
    found = run_probe("denormals")
    slowdown = found["slowdown"]
    detail = f"multiplying denormal numbers takes {slowdown:.1f} times as long as after flushing them"
    if found["flushed_everywhere"]:
        return ok("denormals", found, f"{detail}; flushing works on all {found['threads']} threads")
    remedy = "Use an official torch build, or train with one thread: vanishing gradients become denormal."
    if slowdown < 1.5:
        return ok("denormals", found, f"{detail}; flushing does not work, and is not needed")
    return warning("denormals", found, f"{detail}, and flushing does not reach every thread", remedy)


def check_bf16() -> Check:
    """Whether half-width arithmetic is built into the processor, works and pays."""
    import torch
    from torch import nn

    from sentiscale.parallel.cpu import gemm_peak_gflops, ran_on_onednn

    net = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True).to(torch.bfloat16)
    states_BTH, _ = net(torch.randn(ROWS, TOKENS, EMBEDDING, dtype=torch.bfloat16))
    states_BTH.float().sum().backward()
    flag = next((flag for flag in BF16_FLAGS if flag in cpu_flags()), None)
    gain = gemm_peak_gflops(1, torch.bfloat16) / gemm_peak_gflops(1)
    value = {"instructions": flag, "gemm_gain": round(gain, 2), "lstm_on_onednn": ran_on_onednn(states_BTH)}
    if not all(bool(weight.grad is not None and weight.grad.isfinite().all()) for weight in net.parameters()):
        remedy = "Stay with float32, the default, and update torch."
        return problem("bf16", value, "an LSTM step in bf16 gave numbers that are not finite", remedy)
    if flag is None:
        return ok("bf16", value, "no bf16 instructions: float32, the default, is the right choice here")
    kernel = "oneDNN" if value["lstm_on_onednn"] else "the generic kernel"
    return ok("bf16", value, f"{flag}: matrix products {gain:.1f} times as fast as float32, LSTM on {kernel}")


GLOO_REMEDY = (
    "Set GLOO_SOCKET_IFNAME=lo (or the name of the network interface to use), and check that this "
    "machine's host name resolves. One process still trains without it."
)


def check_gloo() -> Check:
    """Two real processes add up a tensor over gloo."""
    try:
        found = all_reduce("gloo", world=2)
    except RuntimeError as error:
        return warning("gloo", None, f"two processes could not talk: {error}", GLOO_REMEDY)
    return _judge("gloo", found, "two processes")


def check_nccl() -> Check:
    """NCCL works on the graphics processor, where there is one."""
    import torch

    if not torch.cuda.is_available():
        return ok("nccl", None, "not needed without a graphics processor")
    try:
        found = all_reduce("nccl", world=1)
    except RuntimeError as error:
        remedy = "Install the CUDA build of torch that fits this driver; NCCL_DEBUG=INFO shows more."
        return warning("nccl", None, f"NCCL does not start: {error}", remedy)
    return _judge("nccl", found, "one process")


def all_reduce(backend: str, world: int) -> dict[str, Any]:
    """Let `world` fresh processes sum a tensor; return what rank 0 found.

    Raises: RuntimeError with the reason when they cannot meet or do not answer.
    """
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        meeting_file = str(Path(folder, "meeting"))
        processes = [
            start_probe("all_reduce", backend, str(rank), str(world), meeting_file) for rank in range(world)
        ]
        try:
            found = [finish_probe(process) for process in processes]
            return found[0]
        finally:
            for process in processes:
                stop_probe(process)


def _judge(name: str, found: dict[str, Any], who: str) -> Check:
    if not found["correct"]:
        return problem(
            name, found, f"{who} got a wrong sum over {name}", "Update torch; do not train on ranks."
        )
    return ok(name, found, f"{who} sum a tensor over {name} at {found['megabytes_per_s']:,} MB/s")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(PROBES[sys.argv[1]](*sys.argv[2:])) + "\n")
