"""Checks of the machine itself: cores, load, memory, disk. None of them imports torch."""

import importlib.util
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import psutil

from sentiscale.doctor.checks import Check, ok, problem, warning
from sentiscale.records import Host, available_cores

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
            "cores", {"usable": cores, "quota": quota},
            f"{detail}, but this container may use only {quota:g} of them",
            f"Raise the container's CPU limit, or run with OMP_NUM_THREADS={max(1, int(quota))}.",
        )  # fmt: skip
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
