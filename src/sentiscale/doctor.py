"""Checks this machine for everything sentiscale needs; every finding has a remedy."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
from pydantic import computed_field

from sentiscale.parallel.layout import LEAST_ROWS, Layout, usual_layout
from sentiscale.records import CGROUP, Host, Record, available_cores, cpu_quota
from sentiscale.util.progress import Progress

if TYPE_CHECKING:  # imported inside the checks, which report it if torch cannot be loaded
    from torch import Tensor, nn

Status = Literal["ok", "warning", "problem"]

BATCH_SIZE = 128
"""Default number of rows per training step, except for small datasets."""
GIB = 2**30
LITTLE_MEMORY_GIB = 2.0
LITTLE_DISK_GIB, TOO_LITTLE_DISK_GIB = 2.0, 0.2
ROWS, TOKENS, VOCABULARY, EMBEDDING, HIDDEN = 64, 96, 5000, 64, 64
"""Size of the network whose speed is measured."""
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
PROBE_SECONDS = 45.0
"""Time limit of a probe; importing torch from a cold or shared disk can take most of it."""
RENDEZVOUS_SECONDS = 15.0


class Check(Record):
    """One line of the report."""

    name: str
    """Name of the check."""
    status: Status
    """ok: nothing to do. warning: works, but could be better. problem: does not work."""
    value: Any = None
    """Finding as data: a number, a text or a mapping of them."""
    detail: str
    """Finding as text, with units."""
    remedy: str | None = None
    """What to do about the finding; set unless the status is ok."""


class Report(Record):
    """All checks, in the order in which they were run."""

    checks: list[Check]
    """One entry per check."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Status:
        """The worst status of all checks."""
        found = {check.status for check in self.checks}
        return "problem" if "problem" in found else "warning" if "warning" in found else "ok"


def doctor(*, quick: bool = False, folder: Path | None = None, progress: Progress | None = None) -> Report:
    """Check this machine; takes about 15 s, or 4 s with `quick`.

    Args:
        quick: skip all speed measurements and checks that start processes.
        folder: directory where output will be written; by default the current directory.
        progress: where to show progress.
    """
    checks: dict[str, Callable[[], Check]] = {
        "cores": check_cores,
        "load": check_load,
        "memory": check_memory,
        "disk": lambda: check_disk(folder or Path.cwd()),
        "libraries": check_libraries,
        "torch": check_torch,
        "threads": check_threads,
        "gpu": check_gpu,
        "lstm_kernel": check_lstm_kernel,
    }
    if not quick:
        checks |= {
            "gemm_peak": check_gemm_peak,
            "lstm_step": check_lstm_step,
            "denormals": check_denormals,
            "bf16": check_bf16,
            "gloo": check_gloo,
            "nccl": check_nccl,
        }
    found: list[Check] = []
    with (progress or Progress()).task("doctor", None, "checks") as advance:
        for name, check in checks.items():
            advance(1, name)
            found.append(examine(name, check))
            if name == "torch" and found[-1].status == "problem":  # the others would report the same problem
                break
    return Report(checks=[*found, choose_layout(found)])


def examine(name: str, check: Callable[[], Check]) -> Check:
    """Run one check; an exception becomes its finding."""
    try:
        return check()
    except Exception as error:  # no broken component may end the report
        remedy = "Reinstall with `make distclean setup`; if the problem remains, report this line."
        return problem(name, None, f"{type(error).__name__}: {error}", remedy)


def ok(name: str, value: Any, detail: str) -> Check:
    return Check(name=name, status="ok", value=value, detail=detail)


def warning(name: str, value: Any, detail: str, remedy: str) -> Check:
    return Check(name=name, status="warning", value=value, detail=detail, remedy=remedy)


def problem(name: str, value: Any, detail: str, remedy: str) -> Check:
    return Check(name=name, status="problem", value=value, detail=detail, remedy=remedy)


def choose_layout(found: Sequence[Check]) -> Check:
    """The default layout for training on this machine, and the reason for it."""
    values = {check.name: check.value for check in found}
    cores = available_cores()
    if values.get("gpu"):
        layout, why = Layout(1, 1), "one process on the GPU"
    else:
        layout = usual_layout(BATCH_SIZE, cores)
        why = f"replicas with at least {LEAST_ROWS} rows per step"
    threads = cores // layout.world_size
    rates = values.get("lstm_step")
    if rates and layout.data > 1:
        most = max(rates, key=int)
        why += (
            f"; {thread_count(most)} in one process are {rates[most] / rates['1']:.2f} times as fast as one"
        )
    detail = f"{layout} with {thread_count(threads)} per rank: {why}; --layout auto measures on your data"
    return ok("layout", {"layout": str(layout), "threads": threads}, detail)


def thread_count(threads: int | str) -> str:
    return "one thread" if int(threads) == 1 else f"{threads} threads"


def check_cores() -> Check:
    """Check the cores this process may use, and whether a container's quota is lower."""
    host = Host.current()
    cores, quota = host.cores, cpu_quota()
    value, detail = {"usable": cores, "quota": quota}, f"{cores} usable, {host.cpu_model}"
    if quota is not None and quota < cores:
        remedy = f"Raise the container's CPU limit, or run with OMP_NUM_THREADS={max(1, int(quota))}."
        return warning("cores", value, f"{detail}, but this container may use only {quota:g} of them", remedy)
    return ok("cores", value, detail)


def check_load() -> Check:
    load, cores = round(os.getloadavg()[0], 2), available_cores()
    detail = f"{load:.2f} running processes on average over the last minute"
    if load > 0.5 * cores:
        remedy = "Stop other programs before measuring; timings taken now are too slow and uneven."
        return warning("load", load, detail, remedy)
    return ok("load", load, detail)


def check_memory(limit: Path = CGROUP / "memory.max") -> Check:
    memory = psutil.virtual_memory()
    try:
        total = min(memory.total, int(limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or "max"
        total = memory.total
    left = min(memory.available, total)
    value = {"total_mb": total // 2**20, "available_mb": left // 2**20}
    detail = f"{left / GIB:.1f} GiB of {total / GIB:.1f} GiB available"
    if left < LITTLE_MEMORY_GIB * GIB:
        remedy = f"Close other programs: preparing and training need {LITTLE_MEMORY_GIB:g} GiB."
        return warning("memory", value, detail, remedy)
    return ok("memory", value, detail)


def check_disk(folder: Path) -> Check:
    """Check the space for prepared data and runs in `folder`."""
    free = shutil.disk_usage(folder).free
    value, detail = free // 2**20, f"{free / GIB:.1f} GiB free in {folder}"
    remedy = "Free some space, or write to another disk with --out."
    if not os.access(folder, os.W_OK):
        return warning("disk", value, f"{folder} is not writable", "Choose a writable directory with --out.")
    if free < TOO_LITTLE_DISK_GIB * GIB:
        return problem("disk", value, detail, remedy)
    if free < LITTLE_DISK_GIB * GIB:
        return warning("disk", value, detail, remedy)
    return ok("disk", value, detail)


def check_libraries() -> Check:
    """Check for optional libraries that a single verb needs."""
    name = "huggingface_hub"
    if importlib.util.find_spec(name) is None:
        detail = f"{name} is not installed; only `sentiscale fetch` needs it: pip install 'sentiscale[fetch]'"
        return ok("libraries", {name: None}, detail)
    return ok("libraries", {name: version(name)}, f"{name} {version(name)}")


def check_torch() -> Check:
    """Check the version, the instruction set, and whether oneDNN, which is fast on CPUs, is built in."""
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
    """Check whether torch uses all available cores."""
    import torch

    threads, cores = torch.get_num_threads(), available_cores()
    detail = f"torch uses {threads} of {cores} cores"
    if threads > cores:
        remedy = f"Set OMP_NUM_THREADS={cores}: threads that share a core wait for each other."
        return warning("threads", threads, detail, remedy)
    if threads < cores:
        variable = os.environ.get("OMP_NUM_THREADS")
        reason = f"OMP_NUM_THREADS={variable}" if variable else "torch's own default"
        remedy = f"Unset OMP_NUM_THREADS, or set it to {cores}."
        return warning("threads", threads, f"{detail} ({reason})", remedy)
    return ok("threads", threads, detail)


def check_gpu() -> Check:
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


def check_lstm_kernel() -> Check:
    """Check whether training a padded LSTM uses oneDNN's fused kernel."""
    import torch

    from sentiscale.parallel.cpu import ran_on_onednn

    network, _ = small_network()
    logits_B = network(torch.randint(VOCABULARY, (4, 16)))
    torch.autograd.backward(logits_B.sum())
    if ran_on_onednn(logits_B):
        return ok("lstm_kernel", "onednn", "a padded LSTM trains on oneDNN's fused kernel")
    remedy = "Use an official torch build for this processor, and leave torch.backends.mkldnn enabled."
    detail = "an LSTM trains on torch's generic kernel, several times slower"
    return warning("lstm_kernel", "generic", detail, remedy)


def check_gemm_peak() -> Check:
    """Measure matrix multiplication on one core and on all cores, the reference for training speed."""
    from sentiscale.parallel.cpu import gemm_peak_gflops

    cores = available_cores()
    peaks = {str(threads): round(gemm_peak_gflops(threads), 1) for threads in dict.fromkeys((1, cores))}
    detail = ", ".join(f"{peak:.0f} GFLOP/s on {thread_count(threads)}" for threads, peak in peaks.items())
    gain = peaks[str(cores)] / peaks["1"]
    if cores > 1 and gain < max(1.1, 0.3 * cores):
        remedy = (
            "Other programs, or other tenants of this machine, use the cores; measure again when it is idle."
        )
        return warning(
            "gemm_peak", peaks, f"{detail}: {cores} cores are only {gain:.1f} times as fast as one", remedy
        )
    return ok("gemm_peak", peaks, detail)


def check_lstm_step() -> Check:
    """Measure training steps in reviews per second, on one thread and on all threads."""
    cores = available_cores()
    rates = {str(threads): round(lstm_rows_per_s(threads)) for threads in dict.fromkeys((1, cores))}
    detail = ", ".join(f"{rate:,} reviews/s on {thread_count(threads)}" for threads, rate in rates.items())
    detail += f" ({EMBEDDING} → {HIDDEN} units, {TOKENS} tokens)"
    if rates[str(cores)] < rates["1"]:
        remedy = "Measure again when the machine is idle; if it never is, train with --threads-per-rank 1."
        detail += ": threads wait while other programs hold their cores"
        return warning("lstm_step", rates, detail, remedy)
    return ok("lstm_step", rates, detail)


def lstm_rows_per_s(threads: int, seconds: float = 0.5) -> float:
    """Measure training steps of a small LSTM for about `seconds`; return rows per second."""
    import torch
    from torch.nn import functional

    from sentiscale.parallel.cpu import torch_threads

    network, parameters = small_network()
    optimizer = torch.optim.Adam(parameters)
    ids_BT, labels_B = torch.randint(VOCABULARY, (ROWS, TOKENS)), torch.rand(ROWS).round()

    def step() -> None:
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(network(ids_BT), labels_B))
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


def small_network() -> "tuple[Callable[[Tensor], Tensor], Iterator[nn.Parameter]]":
    """Return a function from ids_BT to logits_B, and its parameters; shaped like the model of `train`."""
    from torch import nn

    embedding, head = nn.Embedding(VOCABULARY, EMBEDDING), nn.Linear(HIDDEN, 1)
    recurrent = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)

    def logits(ids_BT: "Tensor") -> "Tensor":
        states_BTH, _ = recurrent(embedding(ids_BT))
        logits_B: Tensor = head(states_BTH.amax(dim=1)).squeeze(1)
        return logits_B

    return logits, nn.ModuleList([embedding, recurrent, head]).parameters()


def check_denormals() -> Check:
    """Check whether every thread can flush denormal numbers to zero, and how slow they are otherwise."""
    found = run_probes(["denormals"])
    slowdown = found["slowdown"]
    detail = f"multiplying denormal numbers takes {slowdown:.1f} times as long as after flushing them"
    if found["flushed_everywhere"]:
        return ok("denormals", found, f"{detail}; flushing works on all {found['threads']} threads")
    if slowdown < 1.5:
        return ok("denormals", found, f"{detail}; flushing does not work, and is not needed")
    remedy = "Use an official torch build, or train with one thread: vanishing gradients become denormal."
    return warning("denormals", found, f"{detail}, and flushing does not reach every thread", remedy)


def check_bf16() -> Check:
    """Check whether the processor has bf16 instructions, whether they work, and how fast they are."""
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
        remedy = "Use float32, the default, and update torch."
        return problem("bf16", value, "an LSTM step in bf16 produced numbers that are not finite", remedy)
    if flag is None:
        return ok("bf16", value, "no bf16 instructions: float32, the default, is the right choice here")
    kernel = "oneDNN" if value["lstm_on_onednn"] else "the generic kernel"
    return ok("bf16", value, f"{flag}: matrix products {gain:.1f} times as fast as float32, LSTM on {kernel}")


def cpu_flags() -> frozenset[str]:
    """Feature flags of the processor, as Linux names them; empty on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return frozenset()
    return frozenset(flags.partition(":")[2].split())


def check_gloo() -> Check:
    """Check whether two processes can exchange a tensor over gloo."""
    remedy = (
        "Set GLOO_SOCKET_IFNAME=lo (or the name of the network interface to use), and check that this "
        "machine's host name resolves. One process still trains without it."
    )
    return check_all_reduce("gloo", 2, "two processes could not exchange data", remedy)


def check_nccl() -> Check:
    """Check whether NCCL works on the GPU, if there is one."""
    import torch

    if not torch.cuda.is_available():
        return ok("nccl", None, "not needed without a GPU")
    remedy = "Install the CUDA build of torch that fits this driver; NCCL_DEBUG=INFO shows more."
    return check_all_reduce("nccl", 1, "NCCL does not start", remedy)


def check_all_reduce(backend: str, world: int, failure: str, remedy: str) -> Check:
    """Sum a tensor in `world` new processes, and report the speed."""
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        file = str(Path(folder, "rendezvous"))
        try:
            found = run_probes(
                *(["all_reduce", backend, str(rank), str(world), file] for rank in range(world))
            )
        except RuntimeError as error:
            return warning(backend, None, f"{failure}: {error}", remedy)
    processes = "one process" if world == 1 else "two processes"
    if not found["correct"]:
        detail = f"{processes} computed a wrong sum over {backend}"
        return problem(backend, found, detail, "Update torch, and train with --layout 1x1 until then.")
    return ok(backend, found, f"{processes} sum a tensor over {backend} at {found['megabytes_per_s']:,} MB/s")


def run_probes(*commands: Sequence[str]) -> dict[str, Any]:
    """Run probes in new processes at the same time; return the result of the first.

    Raises: RuntimeError with the last line of a process that fails or takes too long.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "sentiscale.doctor", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        first, *_ = [_result(process) for process in processes]
        return first
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer within {PROBE_SECONDS:.0f} s") from error
    if process.returncode != 0:
        raise RuntimeError((err.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def probe_denormals() -> dict[str, Any]:
    """Multiply denormals with and without flushing; check whether flushing reaches every thread.

    Threads inherit the mode when they start, so this needs a process that has not started a thread pool.
    """
    import torch

    torch.set_flush_denormal(True)
    tiny = torch.full((1 << 20,), 1e-41)  # below 1.2e-38, the smallest normal float32
    flushed_everywhere = bool((tiny * 0.5 == 0).all())  # large enough to be split among all threads
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
    slowdown = round(seconds[False] / seconds[True], 2)
    return {"flushed_everywhere": flushed_everywhere, "slowdown": slowdown, "threads": threads}


def probe_all_reduce(backend: str, rank: str, world: str, file: str) -> dict[str, Any]:
    """Join the other ranks through a file, sum a tensor with them and measure the speed."""
    import torch
    from torch import distributed

    distributed.init_process_group(
        backend,
        init_method=f"file://{file}",
        rank=int(rank),
        world_size=int(world),
        timeout=timedelta(seconds=RENDEZVOUS_SECONDS),
    )
    numbers = torch.ones(1 << 20, device="cuda" if backend == "nccl" else "cpu")
    distributed.all_reduce(numbers)
    correct = bool((numbers == int(world)).all())
    started_at = time.perf_counter()
    distributed.all_reduce(numbers)
    seconds = time.perf_counter() - started_at
    distributed.destroy_process_group()
    return {"correct": correct, "megabytes_per_s": round(numbers.nbytes / 1e6 / seconds)}


if __name__ == "__main__":
    probes: dict[str, Callable[..., Any]] = {"denormals": probe_denormals, "all_reduce": probe_all_reduce}
    sys.stdout.write(json.dumps(probes[sys.argv[1]](*sys.argv[2:])) + "\n")
