"""The drill `alone` for an encoder of each family of architectures, each newer objective, and settings of the steps."""

import functools
from pathlib import Path

from drill import Drill, Found
from training import alone_killed

SMALL = {"arch": "mobilenet_v3_small", "size": 32}

ARCHITECTURES = {  # with a number of epochs: the large ones take a second a step
    "efficientnet_lite0": 2,
    "convnext_tiny": 1,
    "vit_small": 1,
    "timm:vit_tiny_patch16_224": 2,
    "open_clip:ViT-S-32": 1,
}

OBJECTIVES = ("contrastive", "arcface", "hierarchical", "distil", "simsiam")

SETTINGS = {
    "sides": {"sides": [0.5, 1]},
    "average": {
        "objective": {"name": "classifier"},
        "optimizer": {"average": 0.9, "freeze": 0.25, "layer_decay": 0.8},
    },
}

KINDS = {
    **{n.rpartition(":")[2]: {"encoder": {"arch": n, "size": 32}, "epochs": e} for n, e in ARCHITECTURES.items()},
    **{name: {"encoder": SMALL, "objective": {"name": name}} for name in OBJECTIVES},
    **{name: {"encoder": SMALL} | values for name, values in SETTINGS.items()},
}


def kind_killed(folder: Path, values: dict) -> Found:
    """The job without Ray with these settings; its undisturbed run is its own."""
    (folder / "killed").mkdir()
    return alone_killed(folder / "killed", **values)


DRILLS = {f"alone-{name}": Drill(functools.partial(kind_killed, values=values), 450) for name, values in KINDS.items()}
