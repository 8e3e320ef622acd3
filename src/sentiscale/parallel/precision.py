"""Arithmetic of the network, checked against the capabilities of the device."""

from dataclasses import dataclass
from typing import Literal

import torch

from sentiscale.errors import UsageError

PrecisionName = Literal["fp32", "bf16", "fp16", "fp64"]

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions with 32-bit weights and 16-bit matrix multiplications, with their autocast dtype."""


@dataclass(frozen=True)
class Precision:
    """`fp32` or `fp64` throughout, or 32-bit weights with `bf16` or `fp16` products under autocast."""

    name: PrecisionName

    @classmethod
    def choose(cls, wanted: str, device: torch.device) -> "Precision":
        """Resolve `auto`, and refuse precisions that the device would only emulate.

        Raises: UsageError for 16-bit arithmetic without hardware support; the message names what works.
        """
        native = native_precisions(device)
        if wanted == "auto":
            return cls("bf16" if "bf16" in native else "fp32")
        for name in ("fp32", "fp64", "bf16", "fp16"):
            if wanted == name and name in native:
                return cls(name)
        raise UsageError(
            f"precision is {wanted}, which this {device.type} device only emulates. "
            f"It runs {', '.join(native)}; --precision auto takes the fastest."
        )

    @property
    def weights(self) -> torch.dtype:
        return torch.float64 if self.name == "fp64" else torch.float32

    @property
    def wire(self) -> torch.dtype:
        """Dtype of activations sent between stages; autocast rounds them to it anyway."""
        return AUTOCAST.get(self.name, self.weights)

    @property
    def scales_loss(self) -> bool:
        """Whether the loss is scaled: in the narrow range of fp16, small gradients become zero."""
        return self.name == "fp16"

    def autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, AUTOCAST.get(self.name), enabled=self.name in AUTOCAST)


class LossScaler:
    """Dynamic loss scaling for fp16 (Micikevicius et al., 2018, "Mixed precision training").

    A step whose gradients overflow on any rank is skipped on all ranks, and the scale is halved. After
    `GROWTH_STEPS` good steps the scale is doubled. All ranks update it identically.
    """

    GROWTH_STEPS = 2000
    LARGEST = 2.0**24

    def __init__(self, precision: Precision, scale: float | None = None, good_steps: int = 0) -> None:
        """Without loss scaling, the scale is always 1."""
        self.enabled = precision.scales_loss
        self.scale = (scale or 2.0**16) if self.enabled else 1.0
        self.good_steps = good_steps

    def update(self, finite: bool) -> None:
        """Adjust the scale; `finite` is whether the gradients of all ranks were finite."""
        if not self.enabled:
            return
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.scale = max(1.0, self.scale / 2)
        elif self.good_steps == self.GROWTH_STEPS:
            self.scale, self.good_steps = min(self.LARGEST, self.scale * 2), 0


def native_precisions(device: torch.device) -> list[str]:
    """Names of the precisions that the device multiplies natively."""
    if device.type == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["fp32", *(["bf16"] if bf16 else []), "fp16", "fp64"]
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    bf16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    fp16 = bool(capabilities.get("avx512_fp16") or capabilities.get("amx_fp16"))
    return ["fp32", *(["bf16"] if bf16 else []), *(["fp16"] if fp16 else []), "fp64"]


def choose_device(wanted: str, local_rank: int = 0) -> torch.device:
    """Resolve `auto` to CUDA if there is a GPU; the ranks of one machine are spread over its GPUs.

    Raises: UsageError when CUDA is requested but not available.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device is cuda but PyTorch sees no GPU. Use --device cpu, or run `sentiscale doctor` to find "
            "out why."
        )
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return torch.device("cpu")
