"""PyTorch on the CPU: threads, denormal numbers, kernels, peak memory and peak speed."""

import math
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import Node


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside the block.

    Gradients that vanish over hundreds of tokens become denormal, and CPUs multiply denormal numbers up to a
    hundred times slower. Threads inherit the mode when they start, so enter the block before torch creates
    its thread pool. On exit, the calling thread returns to the usual arithmetic.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process so far, in MB of 2**20 bytes: GPU memory on CUDA, else resident memory."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


FUSED_NODE = "MkldnnRnnLayerBackward"


def ran_on_onednn(output: Tensor) -> bool:
    """Whether `output` was computed, directly or indirectly, by oneDNN's recurrent layer.

    Inspects the autograd graph, which names the operation that ran and the one its backward pass will run.
    This takes microseconds; a profiler takes a second to start. `output` must have been computed with
    gradients enabled.
    """
    seen: set[Node] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().startswith(FUSED_NODE):
            return True
        seen.add(node)
        waiting.extend(parent for parent, _ in node.next_functions)
    return False


MEASURE_SECONDS = 0.2
MOST_REPEATS = 9


def gemm_peak_gflops(threads: int, dtype: torch.dtype = torch.float32) -> float:
    """Measure the speed of matrix multiplication on `threads` cores in GFLOP/s (1e9 operations per second).

    Returns the median of a few products, which take 0.2 to 0.5 s in total. Compare it only with measurements
    of the same run: it depends on the clock rate and on other load.
    """
    # The side grows with the square root of the number of threads, so that each thread's share stays large
    # enough to hide the cost of starting and joining threads.
    side = 64 * max(1, round(12 * math.sqrt(threads)))
    left, right, product = (torch.rand(side, side).to(dtype) for _ in range(3))
    with torch_threads(threads), torch.no_grad():
        torch.mm(left, right, out=product)
        seconds: list[float] = []
        while not seconds or (len(seconds) < MOST_REPEATS and sum(seconds) < MEASURE_SECONDS):
            started_at = time.perf_counter()
            torch.mm(left, right, out=product)
            seconds.append(time.perf_counter() - started_at)
    return 2 * side**3 / statistics.median(seconds) / 1e9
