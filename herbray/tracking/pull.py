"""Downloading an encoder from the registry: only two data files, no executable code."""

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herbray.tracking.package import ARTIFACTS_FOLDER, ENCODER_CARD, ENCODER_FILES, WEIGHTS, encoder_digest
from herbray.tracking.registry import DIGEST_TAG, ModelNotFound, get_version, resolve
from herbray.tracking.store import client, digest, registry_uri

if TYPE_CHECKING:
    from herbray.model.encoder import Encoder

LIMITS: Final = {WEIGHTS: 2 << 30, ENCODER_CARD: 8 << 20}
"""Maximum size of each file, in bytes."""

_log = logging.getLogger(__name__)


def load_encoder(model_uri: str, uri: str | None = None) -> "Encoder":
    """Load a trained encoder: `load_encoder("models:/herbray-triplet@champion").embed(jpegs)`.

    Reads only `encoder.safetensors` and `encoder.json`, and runs no code from the registry.

    Args:
        model_uri: see `pull`.
        uri: the store; None: the environment variable `MLFLOW_TRACKING_URI`.

    Raises:
        ValueError: see `pull` and `herbray.model.encoder_card.read_encoder`.
    """
    from herbray.model.encoder_card import read_encoder

    return read_encoder(pull(model_uri, uri))[0]


def pull(model_uri: str, uri: str | None = None, cache: Path | None = None) -> Path:
    """Return a folder with `encoder.safetensors` and `encoder.json`, downloaded if necessary.

    No other file of the version is downloaded. A cached folder is reused only if its files still have the registered
    digest; a downloaded folder gets its final name once it is complete.

    Args:
        model_uri: `models:/name@alias`, `models:/name/3`, `models:/name/latest`, or a local folder.
        uri: the store; None: the environment variable `MLFLOW_TRACKING_URI`.
        cache: folder for downloaded encoders; None: `herbray/models` in the user's cache folder.

    Raises:
        ValueError: `model_uri` is neither a `models:/` URI nor a folder with both files; a file exceeds its limit
            (`LIMITS`) or does not have the registered digest; or no registry is given.
        ModelNotFound: the model, alias or version does not exist, or the version contains no herbray encoder.
    """
    if not model_uri.startswith("models:"):
        return _check_local(Path(model_uri))
    uri = registry_uri(uri)
    name, number = resolve(uri, model_uri)
    version = get_version(uri, name, number)
    expected = version.tags.get(DIGEST_TAG)
    cache = cache or _default_cache()
    key = digest(f"{uri} {name} {number} {version.creation_timestamp} {expected}")[:16]
    target = cache / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:80]}-{number}-{key}"
    if expected is not None and _is_complete(target) and encoder_digest(target) == expected:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pull-") as temporary:
        fetched = _fetch(uri, name, number, Path(temporary))
        if expected is not None and encoder_digest(fetched) != expected:
            raise ValueError(
                f"{model_uri}: the files do not have the registered digest {expected[:16]}…; they were changed or "
                "truncated after registration: register the encoder again"
            )
        _move_into_cache(fetched, target)
    return target


def _check_local(folder: Path) -> Path:
    if _is_complete(folder):
        return folder
    raise ValueError(
        f"{folder}: no encoder; use models:/name@alias, models:/name/3, or a folder with {' and '.join(ENCODER_FILES)}"
    )


def _is_complete(folder: Path) -> bool:
    return all((folder / file).is_file() for file in ENCODER_FILES)


def _fetch(uri: str, name: str, number: int, folder: Path) -> Path:
    """Download the two files to a subfolder of `folder`; check sizes before and after the download."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    source = client(uri).get_model_version_download_uri(name, str(number))
    store = get_artifact_repository(source, tracking_uri=uri, registry_uri=uri)
    sizes = {item.path: item.file_size or 0 for item in store.list_artifacts(ARTIFACTS_FOLDER) if not item.is_dir}
    for file in ENCODER_FILES:
        path = f"{ARTIFACTS_FOLDER}/{file}"
        if path not in sizes:
            raise ModelNotFound(
                f"version {number} of {name!r} has no {path}: it was not registered by herbray; "
                "load it with mlflow if you trust the person who registered it"
            )
        _check_size(name, number, file, sizes[path])
    for file in ENCODER_FILES:
        fetched = Path(store.download_artifacts(f"{ARTIFACTS_FOLDER}/{file}", str(folder)))  # type: ignore[no-untyped-call]
        _check_size(name, number, file, fetched.stat().st_size)
    return folder / ARTIFACTS_FOLDER


def _check_size(name: str, number: int, file: str, size: int) -> None:
    if size > LIMITS[file]:
        raise ValueError(
            f"version {number} of {name!r}: {file} has {size:,} bytes, limit {LIMITS[file]:,}; not downloaded"
        )


def _move_into_cache(fetched: Path, target: Path) -> None:
    """Rename the folder to its final name; keep a complete folder that another process created in the meantime."""
    if target.exists() and (not _is_complete(target) or encoder_digest(target) != encoder_digest(fetched)):
        shutil.rmtree(target)  # incomplete or changed
    try:
        fetched.rename(target)
    except OSError:
        if not _is_complete(target):
            raise


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "herbray" / "models"
