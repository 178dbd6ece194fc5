"""Fingerprints of an encoder, which are the key of its results, and of the kind of encoder that it is.

A *kind* is a way to make encoders: trainings that differ only in their seed are of one kind, and so are random start
weights of several seeds. Results are averaged and compared by kind.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from herbray.data.fingerprint import fingerprint_json
from herbray.flow.training.specification import Train
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, serialise_weights
from herbray.model.portable import DEFAULT_ARCHITECTURE, WEIGHTS_FILE, Encoder
from herbray.schema import UNTRAINED, WEIGHTS_DIGITS, Identity
from herbray.settings.marks import Role, mark_of

_FACTS: Final = ("arch", "stem", "normalise", "size", "geometry")
"""Facts that an encoder's embeddings depend on, in addition to its weights."""

_NOT_OF_KIND: Final = {"place", "conduct", "progress", "name"}
"""Roles of settings that earlier encoder cards held but that do not change an encoder."""


def encoder_fingerprint(folder: Path, card: EncoderCard) -> str:
    """Fingerprint of an encoder in a folder; encoders that give different embeddings have different fingerprints.

    The first `schema.WEIGHTS_DIGITS` digits are of the weights, eight more of the architecture and the input settings.
    """
    return weights_fingerprint(folder) + _print_of_facts({name: getattr(card, name) for name in _FACTS})


def weights_fingerprint(folder: Path) -> str:
    """Fingerprint of the weights in a folder; encoders of different input sizes may share it."""
    with (folder / WEIGHTS_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:WEIGHTS_DIGITS]


def fingerprint_of(encoder: Encoder) -> str:
    """`encoder_fingerprint` of an encoder in memory."""
    weights = hashlib.sha256(serialise_weights(encoder.state_dict())).hexdigest()[:WEIGHTS_DIGITS]
    return weights + _print_of_facts({name: getattr(encoder, name) for name in _FACTS})


def _print_of_facts(facts: Mapping[str, object]) -> str:
    return fingerprint_json(dict(facts))[:8]


def read_identity(folder: Path, card: EncoderCard) -> Identity:
    """Identity of the encoder in a folder."""
    own = encoder_fingerprint(folder, card)
    card = card.model_copy(update={"start": own if card.objective == UNTRAINED else card.start or _rebuilt_start(card)})
    return Identity(
        model=encoder_name(card),
        encoder=own,
        objective=card.objective,
        kind=encoder_kind(card),
        init=card.init,
        start_kind=start_kind(card),
        seed=card.seed,
    )


def encoder_name(card: EncoderCard) -> str:
    """Name of an encoder for people: the label that its training gave it, else its objective.

    An untrained network whose architecture is not the study's is named by its architecture.
    """
    if card.objective == UNTRAINED:
        return UNTRAINED if card.arch == DEFAULT_ARCHITECTURE else card.arch
    return card.label or str(card.spec.get("label") or card.objective)  # earlier cards had it among the settings


def encoder_kind(card: EncoderCard) -> str:
    """Fingerprint of how an encoder was made: name, settings, start weights and shards, but not the seed."""
    if card.objective == UNTRAINED:
        return start_kind(card)
    return fingerprint_json(
        encoder_name(card), card.objective, kind_settings(card), start_kind(card), card.shards_fingerprint
    )


def start_kind(card: EncoderCard) -> str:
    """The kind of an encoder's start weights: their fingerprint, or one that random weights of all seeds share."""
    if not card.start:  # unknown: a separate kind
        return fingerprint_json(card.init)
    drawn = fingerprint_json("random", card.arch, card.stem)[:WEIGHTS_DIGITS]
    return drawn + card.start[WEIGHTS_DIGITS:] if card.init == "random" else card.start


def kind_settings(card: EncoderCard) -> dict[str, Any]:
    """The settings that define a kind, as a tree; start weights and shards are separate parts of it."""
    if card.objective == UNTRAINED:
        return {"encoder": {name: getattr(card, name) for name in ("arch", "stem", "normalise", "size")}}
    tree = {name: value for name, value in card.spec.items() if name != "seed" and _role(name) not in _NOT_OF_KIND}
    encoder = tree.get("encoder")
    return tree | {"encoder": {k: v for k, v in encoder.items() if k != "init"}} if isinstance(encoder, dict) else tree


def _role(setting: str) -> Role | None:
    mark = mark_of(Train, setting)
    return mark.role if mark else None


def identity_from_manifest(note: Mapping[str, Any]) -> Identity:
    """Identity of the encoder of an embeddings folder, from the folder's manifest."""
    return Identity(**{each.name: note[each.name] for each in fields(Identity)})


def _rebuilt_start(card: EncoderCard) -> str:
    """Fingerprint of start weights that a card of an earlier version does not name; "" if they cannot be rebuilt."""
    if card.init not in ("random", "imagenet"):
        return ""
    facts = {name: getattr(card, name) for name in ("arch", "init", "stem", "normalise", "size")}
    try:
        return fingerprint_of(build_encoder(EncoderSpec.model_validate(facts), card.seed))
    except ValueError:  # the published weights are not on this machine
        return ""
