"""Model cards of registered versions: in full as README.md, and shortened if necessary as the description."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from herbray.console.redact import redact
from herbray.tracking.registry import get_version, to_description
from herbray.tracking.store import client

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

README: Final = "README.md"
_LIMIT: Final = 1 << 20


def read_card(uri: str, name: str, version: int) -> str:
    """Read the model card of a version: its README.md, else its description.

    Raises:
        ModelNotFound: the model or version does not exist.
        ValueError: the file is larger than a model card may be.
    """
    record = get_version(uri, name, version)
    files = _artifact_repository(uri, name, version)
    sizes = {item.path: item.file_size or 0 for item in files.list_artifacts() if not item.is_dir}
    if README not in sizes:
        return record.description or ""
    if sizes[README] > _LIMIT:
        raise ValueError(
            f"version {version} of {name!r}: its {README} has {sizes[README]:,} bytes, over the limit of {_LIMIT:,}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(files.download_artifacts(README, folder))  # type: ignore[no-untyped-call]
        return path.read_text(encoding="utf-8", errors="replace")


def write_card(uri: str, name: str, version: int, card: str) -> None:
    """Replace the model card of a version, in both places. Hold `promotion_lock` if others may write the card.

    Raises:
        ModelNotFound: the model or version does not exist.
    """
    card = redact(card)
    get_version(uri, name, version)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / README
        path.write_text(card, encoding="utf-8")
        _artifact_repository(uri, name, version).log_artifact(str(path))  # type: ignore[no-untyped-call]
    client(uri).update_model_version(name, str(version), description=to_description(card))


def _artifact_repository(uri: str, name: str, version: int) -> "ArtifactRepository":
    """The artifact repository of the version."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    source = client(uri).get_model_version_download_uri(name, str(version))
    return get_artifact_repository(source, tracking_uri=uri, registry_uri=uri)
