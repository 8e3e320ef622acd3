"""Checks by doing the real thing on the CPU: matrix products, an LSTM training step, denormals, bf16."""

import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiscale.doctor.checks import Check, ok, problem, thread_count, warning
from sentiscale.doctor.machine import cpu_flags
from sentiscale.doctor.probe import run_probe
from sentiscale.parallel.onednn import ran_on_onednn
from sentiscale.parallel.peak import gemm_peak_gflops
from sentiscale.parallel.process import torch_threads
from sentiscale.records import available_cores

ROWS, TOKENS, VOCABULARY, EMBEDDING, HIDDEN = 64, 96, 5000, 64, 64
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


class _TinyClassifier(nn.Module):
    """Embedding, LSTM over padded reviews, maximum over time, one logit: shaped like the real model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.recurrent = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Shape: ids_BT (B, T) int64; returns logits (B,)."""
        states_BTH, _ = self.recurrent(self.embedding(ids_BT))
        logits_B: Tensor = self.head(states_BTH.amax(dim=1)).squeeze(1)
        return logits_B


def check_gemm_peak() -> Check:
    """Matrix multiplication on one core and on all: what training speed is judged against."""
    cores = available_cores()
    peaks = {str(threads): round(gemm_peak_gflops(threads), 1) for threads in dict.fromkeys((1, cores))}
    detail = ", ".join(f"{peak:.0f} GFLOP/s on {thread_count(int(n))}" for n, peak in peaks.items())
    gain = peaks[str(cores)] / peaks["1"]
    if cores > 1 and gain < max(1.1, 0.3 * cores):
        return warning(
            "gemm_peak", peaks, f"{detail}: {cores} cores are worth {gain:.1f}",
            "Other programs, or other tenants of this machine, use the cores; measure again when it is idle.",
        )  # fmt: skip
    return ok("gemm_peak", peaks, detail)


def check_lstm_kernel() -> Check:
    """Whether a padded LSTM's training step takes oneDNN's fused kernel."""
    net = _TinyClassifier()
    logits_B = net(torch.randint(VOCABULARY, (4, 16)))
    logits_B.sum().backward()
    if ran_on_onednn(logits_B):
        return ok("lstm_kernel", "onednn", "a padded LSTM trains on oneDNN's fused kernel")
    return warning(
        "lstm_kernel", "generic", "an LSTM trains on torch's generic kernel, several times slower",
        "Use an official torch build for this processor, and leave torch.backends.mkldnn enabled.",
    )  # fmt: skip


def check_lstm_step() -> Check:
    """Reviews a second through forward, backward and update, on one thread and on all."""
    cores = available_cores()
    rates = {str(threads): round(lstm_rows_per_s(threads)) for threads in dict.fromkeys((1, cores))}
    detail = ", ".join(f"{rate:,} reviews/s on {thread_count(int(n))}" for n, rate in rates.items())
    detail += f" ({EMBEDDING} → {HIDDEN} units, {TOKENS} tokens)"
    if rates[str(cores)] < rates["1"]:
        return warning(
            "lstm_step", rates, f"{detail}: threads wait while other programs hold their cores",
            "Measure again when the machine is idle; if it never is, train with --threads-per-rank 1.",
        )  # fmt: skip
    return ok("lstm_step", rates, detail)


def lstm_rows_per_s(threads: int, seconds: float = 0.5) -> float:
    """Rows a second of a small LSTM's training steps on `threads` threads, measured for about `seconds`."""
    net = _TinyClassifier()
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
