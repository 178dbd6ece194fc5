"""The current champion, and decisions to move the alias: how they are carried out and recorded."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from herbray.tracking.cards import read_card, write_card
from herbray.tracking.champion.lock import promotion_lock
from herbray.tracking.registry import get_record, get_version, read_aliases, set_alias
from herbray.tracking.sections import append_line
from herbray.tracking.store import client, entity_key

CHAMPION: Final = "champion"
TAG: Final = "herbray.promotion"
"""Tag of a version: the latest decision about it, in words; its values are in `herbray.promotion.<value>`."""

MOVES_TAG: Final = "herbray.champion"
"""Tag of a registered model that changes whenever herbray moves the alias, even back to an earlier version."""

SECTION: Final = "Promotion"
"""The section of the model card that lists decisions, the latest last."""

_KEPT_LINES: Final = 10

_log = logging.getLogger(__name__)


class PromotionOvertaken(ValueError):
    """The champion changed while a decision was being made; nothing was written."""


@dataclass(frozen=True)
class Standing:
    """The champion and the latest move of the alias: equal standings mean that the alias was not moved in between."""

    champion: int | None
    move: str


@dataclass(frozen=True)
class Decision:
    """The decision about one version, and the reason.

    Attributes:
        name: the registered model.
        version: the version that was considered.
        former: the champion before the decision; None if there was none.
        outcome: "promoted", "kept" (the alias does not move) or "rolled back" (the user chose the version).
        reason: the reason in words, with the figures.
        figures: the figures for programs.
    """

    name: str
    version: int
    former: int | None
    outcome: str
    reason: str
    figures: Mapping[str, float | int | str] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether the alias moves to the version."""
        return self.outcome != "kept" and self.former != self.version

    def __str__(self) -> str:
        """One line for the terminal."""
        champion = self.former if self.outcome == "kept" else self.version
        return f"{self.outcome}: {self.name} version {self.version}: {self.reason}; champion: version {champion}"


def read_standing(uri: str, name: str) -> Standing:
    """Read the current champion of a model.

    Raises:
        ModelNotFound: the model does not exist.
    """
    record = get_record(uri, name)
    return Standing(read_aliases(uri, name).get(CHAMPION), record.tags.get(MOVES_TAG, ""))


def apply_decision(uri: str, decision: Decision, seen: Standing) -> None:
    """Carry out a decision and record it: tags, the alias, a line in the model card.

    The function holds `promotion_lock` from re-reading the standing until the alias is moved. If two decisions are
    based on the same standing and both move the alias, only the first is carried out.

    Args:
        uri: the store.
        decision: the decision about `decision.version`.
        seen: the standing on which the decision is based.

    Raises:
        ModelNotFound: the model or version does not exist.
        PromotionOvertaken: the standing has changed.
        PromotionLocked: the lock was not released in time.
    """
    name, version = decision.name, decision.version
    get_version(uri, name, version)
    with promotion_lock(uri, name):
        now = read_standing(uri, name)
        if now != seen:
            raise PromotionOvertaken(_describe_conflict(decision, now))
        known = get_version(uri, name, version).tags.get(TAG)
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        _write_tags(uri, decision, at)
        former = decision.former if decision.moves else None
        if decision.moves:
            client(uri).set_registered_model_tag(name, MOVES_TAG, f"version {version}, {at}, {uuid.uuid4().hex[:12]}")
            set_alias(uri, name, CHAMPION, version)
        if former is not None:
            gone = f"no longer champion: version {version} was {decision.outcome}"
            client(uri).set_model_version_tag(name, str(former), TAG, f"{gone}, {at}")
            _append_to_card(uri, name, former, f"{at}: {gone}.")
        if known != _sentence(decision):  # running a job again repeats the decision; record it once
            _append_to_card(uri, name, version, f"{at}: {_sentence(decision)}.")
    _log.info("%s", decision)


def _describe_conflict(decision: Decision, now: Standing) -> str:
    was = f"version {decision.former}" if decision.former is not None else "none"
    new = f"version {now.champion}" if now.champion is not None else "none"
    return (
        f"{decision.name}: another promotion was faster; the champion was {was} when version {decision.version} was "
        f"compared and is {new} now. Nothing was changed; run the command again to compare with the new champion"
    )


def _sentence(decision: Decision) -> str:
    return f"{decision.outcome}: {decision.reason}"[:4_000]


def _write_tags(uri: str, decision: Decision, at: str) -> None:
    """Replace the promotion tags of the version; figures that only an earlier decision had are removed."""
    version = str(decision.version)
    figures = {"outcome": decision.outcome, "at": at, **decision.figures}
    wanted = {entity_key(f"{TAG}.{key}"): str(value) for key, value in figures.items()}
    wanted[TAG] = _sentence(decision)
    for key in get_version(uri, decision.name, decision.version).tags:
        if key.startswith(f"{TAG}.") and key not in wanted:
            client(uri).delete_model_version_tag(decision.name, version, key)
    for key, value in wanted.items():
        client(uri).set_model_version_tag(decision.name, version, key, value)


def _append_to_card(uri: str, name: str, version: int, line: str) -> None:
    write_card(uri, name, version, append_line(read_card(uri, name, version), SECTION, line, _KEPT_LINES))
