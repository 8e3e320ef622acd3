"""Checks of the installed torch: its build, its threads, the graphics processor."""

import os
import shutil

from sentiscale.doctor.checks import Check, ok, warning
from sentiscale.records import available_cores


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
        value = {
            "name": found.name,
            "memory_mb": found.total_memory // 2**20,
            "count": count,
        }
        return ok("gpu", value, f"{count} x {found.name}, {found.total_memory / 2**30:.0f} GiB each")
    if shutil.which("nvidia-smi"):
        detail = f"this machine has NVIDIA's driver, but torch {torch.__version__} cannot use it"
        remedy = "Install the CUDA build of the same torch version, or update the driver."
        return warning("gpu", None, detail, remedy)
    return ok("gpu", None, "none; everything runs on the CPU")
