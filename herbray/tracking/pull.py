"""Pulling an encoder out of the registry: two files of numbers and names, nothing that can run."""

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herbray.tracking.package import CARD, FILES, FOLDER, WEIGHTS, digest_of
from herbray.tracking.registry import DIGEST_TAG, ModelNotFound, get_version, resolve
from herbray.tracking.store import client, digest, registry_uri

if TYPE_CHECKING:
    from herbray.model.encoder import Encoder

LIMITS: Final = {WEIGHTS: 2 << 30, CARD: 8 << 20}
"""The most bytes accepted of each file."""

_log = logging.getLogger(__name__)


def load_encoder(model_uri: str, uri: str | None = None) -> "Encoder":
    """A trained encoder, ready to embed: `load_encoder("models:/herbray-triplet@champion").embed(jpegs)`.

    Reads `encoder.safetensors` and `encoder.json` alone and runs no code from the registry.

    Args:
        model_uri: see `pull`.
        uri: the store; None for the environment's `MLFLOW_TRACKING_URI`.

    Raises:
        ValueError: see `pull` and `herbray.model.encoder_card.read_encoder`.
    """
    from herbray.model.encoder_card import read_encoder

    return read_encoder(pull(model_uri, uri))[0]


def pull(model_uri: str, uri: str | None = None, cache: Path | None = None) -> Path:
    """A folder with `encoder.safetensors` and `encoder.json`, fetched if need be.

    No other file of the version is fetched. A folder in the cache is used again only if its files still have the
    digest that was registered; a fetched one appears under its name when it is complete.

    Args:
        model_uri: `models:/name@alias`, `models:/name/3`, `models:/name/latest`, or a local folder.
        uri: the store; None for the environment's `MLFLOW_TRACKING_URI`.
        cache: where to keep pulled encoders; None for `herbray/models` in the user's cache folder.

    Raises:
        ValueError: neither a `models:/` URI nor a folder with both files; a file is over its limit (`LIMITS`) or does
            not have the digest that was registered; or no registry is named.
        ModelNotFound: no such model, alias or version, or the version holds no herbray encoder.
    """
    if not model_uri.startswith("models:"):
        return _local(Path(model_uri))
    uri = registry_uri(uri)
    name, number = resolve(uri, model_uri)
    version = get_version(uri, name, number)
    expected = version.tags.get(DIGEST_TAG)
    cache = cache or _default_cache()
    key = digest(f"{uri} {name} {number} {version.creation_timestamp} {expected}")[:16]
    target = cache / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:80]}-{number}-{key}"
    if expected is not None and _complete(target) and digest_of(target) == expected:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pull-") as temporary:
        fetched = _fetch(uri, name, number, Path(temporary))
        if expected is not None and digest_of(fetched) != expected:
            raise ValueError(
                f"{model_uri}: the files do not have the registered digest {expected[:16]}…; they were changed or cut "
                "after registration, so register the encoder again"
            )
        _move(fetched, target)
    return target


def _local(folder: Path) -> Path:
    if _complete(folder):
        return folder
    raise ValueError(
        f"{folder}: no encoder; give models:/name@alias, models:/name/3, or a folder with {' and '.join(FILES)}"
    )


def _complete(folder: Path) -> bool:
    return all((folder / file).is_file() for file in FILES)


def _fetch(uri: str, name: str, number: int, folder: Path) -> Path:
    """Download the two files to a folder within `folder`; sizes are checked in the store's listing and once here."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    source = client(uri).get_model_version_download_uri(name, str(number))
    store = get_artifact_repository(source, tracking_uri=uri, registry_uri=uri)
    sizes = {item.path: item.file_size or 0 for item in store.list_artifacts(FOLDER) if not item.is_dir}
    for file in FILES:
        path = f"{FOLDER}/{file}"
        if path not in sizes:
            raise ModelNotFound(
                f"version {number} of {name!r} holds no {path}: it was not registered by herbray; "
                "load it with mlflow, if you trust whoever registered it"
            )
        _check_size(name, number, file, sizes[path])
    for file in FILES:
        fetched = Path(store.download_artifacts(f"{FOLDER}/{file}", str(folder)))  # type: ignore[no-untyped-call]
        _check_size(name, number, file, fetched.stat().st_size)
    return folder / FOLDER


def _check_size(name: str, number: int, file: str, size: int) -> None:
    if size > LIMITS[file]:
        raise ValueError(
            f"version {number} of {name!r}: {file} has {size:,} bytes, over the limit of {LIMITS[file]:,}; not fetched"
        )


def _move(fetched: Path, target: Path) -> None:
    """Give the folder its name; a complete one that another process put there meanwhile is as good."""
    if target.exists() and (not _complete(target) or digest_of(target) != digest_of(fetched)):
        shutil.rmtree(target)  # cut short, or changed since
    try:
        fetched.rename(target)
    except OSError:
        if not _complete(target):
            raise


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "herbray" / "models"
