"""Where the encoder comes from: the registry, a folder, or untrained start weights."""

import re
from pathlib import Path

from herbray import __version__, schema, storage, tracking
from herbray.data.fingerprint import fingerprint_json
from herbray.flow.embedding.specification import Embed
from herbray.flow.training.fingerprints import encoder_fingerprint, fingerprint_of, weights_fingerprint
from herbray.model.encoder import Encoder, EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder
from herbray.model.portable import CARD_FILE


def fetch_encoder(spec: Embed) -> tuple[Path, dict[str, str]]:
    """Make the encoder available as a folder that every actor can read.

    Returns:
        The folder, and for the manifest: `name` (of the embeddings folder), `uri` (empty if not registered) and
        `version`.

    Raises:
        ValueError: the model is unknown, or the folder holds no valid encoder.
    """
    if spec.model == "start":
        return _build_start(spec)
    if not spec.model.startswith("models:/"):
        return _use_folder(storage.fetch_folder(Path(spec.model)))
    uri = tracking.tracking_uri(spec.store)
    name, version = tracking.resolve(uri, spec.model)
    model = f"models:/{name}/{version}"
    folder = tracking.pull(model, uri, cache=_cache(spec))
    storage.share_folder(folder, last=CARD_FILE)
    return folder.absolute(), {"name": f"{name}-v{version}", "version": f"{name} v{version}", "uri": model}


def _cache(spec: Embed) -> Path:
    return spec.out.absolute() / "encoders"


def _use_folder(folder: Path) -> tuple[Path, dict[str, str]]:
    made_by = encoder_fingerprint(folder, read_encoder(folder)[1])
    name = f"{folder.absolute().parent.name}-{made_by[:8]}{made_by[-4:]}"  # another encoder gets another name
    return folder.absolute(), {"name": name, "uri": "", "version": storage.show(folder)}


def _build_start(spec: Embed) -> tuple[Path, dict[str, str]]:
    """Build the untrained encoder of `spec.start`, unless its folder already exists."""
    start, weights = spec.start, None
    if start.init.startswith("models:/"):  # a registered encoder, frozen: the baseline of training from it
        uri = tracking.tracking_uri(spec.store)
        # With the version number, because results identify start weights by `init`; training does the same.
        start = start.model_copy(update={"init": tracking.pin_version(uri, start.init)})
        weights = tracking.pull(start.init, uri, cache=_cache(spec))
    which = fingerprint_json(start.model_dump(), spec.seed, weights and weights_fingerprint(weights))[:8]
    name = f"start-{re.sub(r'[^A-Za-z0-9._-]+', '-', start.init)[-40:]}-{which}"
    folder = _cache(spec) / name
    if not storage.is_file(folder / "encoder.json"):
        encoder = build_encoder(start, spec.seed, weights)
        save_encoder(folder, encoder, start_card(start, spec.seed, encoder))
    return folder, {"name": name, "uri": "", "version": "untrained"}


def start_card(start: EncoderSpec, seed: int, encoder: Encoder) -> EncoderCard:
    """The encoder card of untrained start weights."""
    return EncoderCard(
        arch=start.arch,
        stem=start.stem,
        normalise=start.normalise,
        size=start.size,
        dim=encoder.dim,
        classes=[],
        objective=schema.UNTRAINED,
        init=start.init,
        seed=seed,
        start=fingerprint_of(encoder),
        shards_fingerprint="",
        citation="",
        spec=start.model_dump(mode="json"),
        geometry=encoder.geometry,
        herbray=__version__,
    )
