"""Which run a training job is: the settings that bear on what is learned, and what its shards and start weights hold.

Where shards and start weights lie does not matter: an archive that is mounted elsewhere names the same runs.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

from herbray.data import plan
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.training.specification import Train
from herbray.model.portable import WEIGHTS
from herbray.settings.marks import Role, flat, role_at, without

Settings = dict[str, Any]
"""JSON values by dotted path."""

_SHARDS: Final = "shards fingerprint"


def run_name(spec: Train) -> str:
    """Name of a run: the same settings on the same images from the same start weights are the same run.

    Start weights of the registry are named by their version: see `train.exact`, which comes first.

    Raises:
        ValueError: no finished shards.
    """
    return f"{spec.objective.name}-{plan.fingerprint(training_settings(spec))}"


def training_settings(spec: Train) -> Settings:
    """What bears on what is learned: every setting without a role, the shards, the start weights."""
    return {path: value for path, value in run_settings(spec).items() if role_at(spec, path) is None}


def validation_settings(spec: Train) -> Settings:
    """How validation is measured, and which checkpoint is kept."""
    return {path: value for path, value in run_settings(spec).items() if role_at(spec, path) in ("measure", "choice")}


def run_settings(spec: Train) -> Settings:
    """All settings but places; shards and start weights are named by what they hold."""
    tree = flat(without(spec, "place"))
    tree["encoder.init"] = _start(spec.encoder.init)
    return {_SHARDS: read_manifest(spec.shards)["fingerprint"]} | tree


def encoder_settings(spec: Train) -> dict[str, Any]:
    """The settings that bear on what an encoder becomes, the seed left out."""
    tree = without(spec, "place", "conduct", "progress", "name")
    del tree["seed"]
    return tree


def public_settings(spec: Train, *roles: Role) -> dict[str, Any]:
    """The settings that may be shown to others, less those of `roles`; a folder of start weights by its name alone."""
    tree = without(spec, "place", *roles)
    start = Path(spec.encoder.init)
    tree["encoder"]["init"] = start.name if start.is_absolute() else spec.encoder.init
    return tree


def _start(init: str) -> str:
    """A local folder or file by its weights; all else as it stands."""
    if init in ("random", "imagenet") or init.startswith("models:/"):
        return init
    path = Path(init)
    file = path if path.is_file() else path / WEIGHTS
    if not file.is_file():
        return init  # whoever reads the weights tells that they are absent
    with file.open("rb") as stream:
        return f"weights {hashlib.file_digest(stream, 'sha256').hexdigest()[:16]}"
