"""In which arithmetic the network runs, checked against what the device can do."""

from dataclasses import dataclass
from typing import Literal

import torch

from sentiscale.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """`fp32`, or `bf16` for the matrix multiplications under autocast (weights stay fp32)."""

    name: Literal["fp32", "bf16"]

    @classmethod
    def choose(cls, wanted: str, device: torch.device, cell: str) -> "Precision":
        """Resolve `auto` and refuse what the device would only emulate.

        Raises: UsageError when bf16 is asked for on hardware without it.
        """
        if wanted == "auto":
            # PyTorch's own GRU gains nothing from bf16 on a CPU; oneDNN's LSTM gains half its time.
            useful = has_bf16(device) and (device.type == "cuda" or cell == "lstm")
            return cls("bf16" if useful else "fp32")
        if wanted == "bf16" and not has_bf16(device):
            raise UsageError(
                f"precision is bf16, which this {device.type} device only emulates. Use --precision fp32."
            )
        return cls("bf16" if wanted == "bf16" else "fp32")

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context to run forward passes in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.name == "bf16")


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_device(wanted: str) -> torch.device:
    """Resolve `auto` to CUDA where there is a GPU.

    Raises: UsageError when CUDA is asked for and absent.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda but PyTorch sees no GPU. Use --device cpu; `doctor` tells why.")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)
