"""What the cores can do at best: matrix multiplication, the yardstick of `flops_utilisation`."""

import math
import statistics
import time

import torch

from sentiscale.parallel.process import torch_threads

MEASURE_SECONDS = 0.2
MOST_REPEATS = 9


def gemm_peak_gflops(threads: int, dtype: torch.dtype = torch.float32) -> float:
    """Measure matrix multiplication on `threads` cores, in GFLOP/s (1e9 operations a second).

    The median of a few products, 0.2 to 0.5 s in all. Quote it beside figures of the same run only:
    it moves with clock rate and neighbours.
    """
    # The side grows with the square root of the threads, so that each thread's share stays large enough
    # to hide the cost of starting and joining them.
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
