"""The peak performance of chips, from the maker's data sheet or, if there is none, measured."""

import functools
import time
from dataclasses import dataclass
from typing import Final

import torch

_SHEETS: Final[tuple[tuple[str, float], ...]] = (
    ("H200 NVL", 835.0),
    ("H200", 989.0),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("A100", 312.0),
    ("L40S", 362.0),
    ("L4", 121.0),
    ("A10G", 70.0),
    ("V100", 125.0),
    ("T4", 65.0),
)
"""Part of the device's name → dense TFLOP/s at bfloat16 with tensor cores (V100 and T4, which have none: float16).

From NVIDIA's data sheets; if a sheet gives the figure "with sparsity", half of it. The first matching name counts.
"""

_MATRIX: Final = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Peak:
    """Peak performance in 10¹² operations per second, and the source of the figure."""

    tflops: float
    source: str


@functools.cache
def peak_of(device: torch.device) -> Peak:
    """The peak of a listed GPU; for a CPU or another GPU, the fastest of several matrix products."""
    if device.type == "cuda" and (listed := listed_peak(torch.cuda.get_device_name(device))):
        return listed
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    name = "bfloat16" if device.type == "cuda" else "float32"
    side = _MATRIX[device.type]
    return Peak(_measure_product(device, kind, side), f"the best product of {side}² matrices in {name} here")


def listed_peak(name: str) -> Peak | None:
    """The peak of a device by the name that CUDA gives it; None if it is not listed."""
    words = name.replace("-", " ").split()
    for part, tflops in _SHEETS:
        if all(any(word == piece for word in words) for piece in part.split()):
            return Peak(tflops, f"the data sheet of {part}")
    return None


def _measure_product(device: torch.device, kind: torch.dtype, side: int, times: int = 6) -> float:
    """10¹² operations per second of a product of two square matrices: the fastest of several after a warm-up."""
    left, right = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for the device
        spent.append(time.perf_counter() - start)
    return 2 * side**3 / min(spent[1:]) / 1e12
