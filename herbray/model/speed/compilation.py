"""Decide whether `torch.compile` is worth the minute that it takes."""

import importlib.util
import shutil
from typing import Final, Literal

import torch

CompileMode = Literal["auto", "on", "off"]

_MIN_STEPS: Final = 1000  # fewer steps do not earn back the minute that compiling takes


def should_compile(setting: CompileMode, device: torch.device, steps: int) -> bool:
    """Decide for a job.

    Args:
        setting: `auto` compiles long jobs on a CUDA device if Triton and a C compiler are installed. It never compiles
            on a CPU, where compiling gains nothing and starts slowly.
        device: of the model.
        steps: number of steps of the job.

    Raises:
        ValueError: the setting is `on` and the device is not a CUDA device.
    """
    if setting == "on" and device.type != "cuda":
        raise ValueError(f"compile=on, but the model is on {device}, where compiling gains nothing; set compile=auto")
    if setting != "auto":
        return setting == "on"
    tools = importlib.util.find_spec("triton") and any(map(shutil.which, ("cc", "gcc", "clang")))
    return device.type == "cuda" and steps >= _MIN_STEPS and bool(tools)
