"""The encoder that made an embeddings folder: vectors of another encoder cannot be compared with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from herbray import storage, tracking
from herbray.flow.embedding_folder import read_note
from herbray.flow.training.fingerprints import encoder_fingerprint
from herbray.model.encoder_card import read_encoder
from herbray.model.portable import CARD_FILE


def find_encoder(embeddings: Path, model: str | None, store: Path) -> Path:
    """Find the encoder of an embeddings folder.

    Args:
        embeddings: folder of one encoder.
        model: where the encoder is: `models:/NAME/VERSION`, a folder with an encoder card, or one of its two files;
            None: where the manifest says.
        store: holds mlflow.db, unless MLFLOW_TRACKING_URI is set.

    Returns:
        A folder with the encoder and its card.

    Raises:
        ValueError: the encoder is not there, or it is another one than that of the embeddings.
    """
    note = read_note(embeddings)
    folder = _fetch(embeddings, note, model, store)
    found = encoder_fingerprint(folder, read_encoder(folder)[1])
    if found != note["encoder"]:
        raise ValueError(
            f"{model or storage.show(folder)}: this encoder ({found}) did not make {embeddings}, whose encoder is "
            f"{note['name']} ({note['encoder']}): set model to that one, or embed the sheets "
            "again with this one"
        )
    return folder


def _fetch(embeddings: Path, note: Mapping[str, Any], model: str | None, store: Path) -> Path:
    cache = embeddings.absolute().parent / "encoders"
    wanted = model or note.get("uri") or ""
    if wanted.startswith("models:/"):
        return tracking.pull(wanted, tracking.tracking_uri(store), cache=cache)
    if model is not None:
        path = Path(model)
        return storage.fetch_folder(path.parent if storage.is_file(path) else path)
    for folder in (cache / note["name"], Path(note.get("version") or "-")):
        if storage.is_file(folder / CARD_FILE):
            return storage.fetch_folder(folder)
    raise ValueError(
        f"{embeddings}: the encoder {note['name']} is not on this machine any more; set model to its folder, which has "
        f"the file {CARD_FILE}"
    )
