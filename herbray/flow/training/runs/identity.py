"""The identity of a run: the settings that change what is learned, and the content of its shards and start weights.

Paths of shards and start weights do not count: an archive that is mounted elsewhere gives the same run names.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

from herbray import storage
from herbray.data.fingerprint import fingerprint_json
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.training.specification import Train
from herbray.flow.training.teacher import teacher_identity
from herbray.model.portable import WEIGHTS_FILE
from herbray.settings.marks import Role, dump_without, flatten, role_at

Settings = dict[str, Any]
"""JSON values by dotted path."""

_SHARDS: Final = "shards fingerprint"
_TEACHER: Final = "teacher fingerprint"


def run_name(spec: Train) -> str:
    """Name of a run: the same settings on the same images from the same start weights are the same run.

    Start weights of the registry must be named by version: see `preparation.resolve_start_weights`.

    Raises:
        ValueError: no finished shards.
    """
    return f"{spec.objective.name}-{fingerprint_json(training_settings(spec))}"


def training_settings(spec: Train) -> Settings:
    """What changes what is learned: every setting without a role, the shards, the start weights."""
    return {path: value for path, value in run_settings(spec).items() if role_at(spec, path) is None}


def validation_settings(spec: Train) -> Settings:
    """Settings of how validation is measured and which checkpoint is kept."""
    return {path: value for path, value in run_settings(spec).items() if role_at(spec, path) in ("measure", "choice")}


def run_settings(spec: Train) -> Settings:
    """All settings except paths; shards and start weights are named by their content."""
    tree = flatten(dump_without(spec, "place"))
    tree["encoder.init"] = _start(spec.encoder.init)
    if spec.objective.teacher_folder is not None:
        tree[_TEACHER] = teacher_identity(spec.objective.teacher_folder)
    return {_SHARDS: read_manifest(spec.shards)["fingerprint"]} | tree


def encoder_settings(spec: Train) -> dict[str, Any]:
    """The settings that change what an encoder learns, without the seed."""
    tree = dump_without(spec, "place", "conduct", "progress", "name")
    del tree["seed"]
    return tree


def public_settings(spec: Train, *roles: Role) -> dict[str, Any]:
    """The settings that may be published, without those of `roles`; a folder of start weights is shown by its name."""
    tree = dump_without(spec, "place", *roles)
    start = Path(spec.encoder.init)
    tree["encoder"]["init"] = start.name if start.is_absolute() else spec.encoder.init
    return tree


def _start(init: str) -> str:
    """A local folder or file is named by its weights; everything else stays as it is."""
    if init in ("random", "imagenet") or init.startswith("models:/"):
        return init
    path = storage.fetch_any(Path(init))
    file = path if path.is_file() else path / WEIGHTS_FILE
    if not file.is_file():
        return init  # reading the weights reports that they are absent
    with file.open("rb") as stream:
        return f"weights {hashlib.file_digest(stream, 'sha256').hexdigest()[:16]}"
