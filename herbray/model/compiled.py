"""Whether `torch.compile` is worth its minute here."""

import importlib.util
import shutil
from typing import Final, Literal

import torch

Compile = Literal["auto", "on", "off"]

_STEPS: Final = 1000  # fewer would not earn back the minute that compiling takes


def worthwhile(setting: Compile, device: torch.device, steps: int) -> bool:
    """Decide for a job of so many steps.

    Args:
        setting: `auto` compiles on a CUDA device with Triton and a C compiler beside it, for long jobs. Never on a
            CPU, where it gains nothing and its start is slow.
        device: of the model.
        steps: to come.

    Raises:
        ValueError: `on`, and the device is no CUDA device.
    """
    if setting == "on" and device.type != "cuda":
        raise ValueError(f"compile=on, but the model is on {device}: it gains nothing there; set compile=auto")
    if setting != "auto":
        return setting == "on"
    tools = importlib.util.find_spec("triton") and any(map(shutil.which, ("cc", "gcc", "clang")))
    return device.type == "cuda" and steps >= _STEPS and bool(tools)
