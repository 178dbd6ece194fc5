"""An evaluation written up where its encoders are registered: run, model card, and who is champion."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray import tables, tracking
from herbray.flow.embedding.folder import read_note, remedy
from herbray.flow.evaluation.card_section import findings
from herbray.flow.evaluation.comparison import Evidence, Rule, consider, evidence

SECTION: Final = "Results"
"""The section of the model card that an evaluation writes."""

_URI: Final = re.compile(r"models:/(?P<name>[^/@:]+)/(?P<version>\d{1,9})")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """What was found of one embeddings folder: `schema.RESULT` and `schema.OUTCOME`."""

    folder: Path
    results: pa.Table
    outcomes: pa.Table


@dataclass(frozen=True)
class _Version:
    name: str
    version: int
    entry: Entry
    note: dict[str, Any]


def record(store: Path, rule: Rule, seed: int, entries: Sequence[Entry]) -> None:
    """Log each registered encoder's results to its run and its card, and let the better ones be champion.

    A model without a champion gets its first: the lowest version with the rule's metric. A later version becomes
    champion as with `herbray promote`, if the champion's embeddings of the same shards are among the entries. Versions
    before the champion are not compared with it: that would use up looks at the evaluation set. Where
    another job holds a model's lock, a warning says what was left out: the results stand without it.

    Raises:
        ModelNotFound: embeddings name a model or version that the registry does not hold.
    """
    registered = sorted(_registered(entries), key=lambda each: (each.name, each.version, each.note["shards"]))
    if not registered:
        return
    uri = tracking.tracking_uri(store)
    for each in registered:
        tracking.log_results(tracking.run_of(uri, each.name, each.version), each.entry.results)
        _into_card(uri, each, rule)
    for each in registered:
        _crown(uri, each, registered, rule, seed)


def _registered(entries: Sequence[Entry]) -> list[_Version]:
    found = []
    for entry in entries:
        note = read_note(entry.folder)
        if match := _URI.fullmatch(note["uri"]):
            found.append(_Version(match["name"], int(match["version"]), entry, note))
    return found


def _into_card(uri: str, each: _Version, rule: Rule) -> None:
    text = findings(
        each.entry.results, each.entry.outcomes, _families(each.entry.folder), rule.key, each.note["shards"]
    )
    try:
        with tracking.exclusive(uri, each.name):
            card = tracking.read_card(uri, each.name, each.version)
            tracking.write_card(uri, each.name, each.version, tracking.with_section(card, SECTION, text))
    except tracking.PromotionHeld as error:
        _log.warning("%s version %d: its card lacks these results: %s", each.name, each.version, error)


def _families(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.glob("split=*/part-*.parquet")):
        rows = tables.read(file, remedy(folder), columns=["specimen_id", "family"])
        named = rows.filter(pc.is_valid(rows["family"]))
        found |= dict(zip(named["specimen_id"].to_pylist(), named["family"].to_pylist(), strict=True))
    return found


def _crown(uri: str, each: _Version, registered: Sequence[_Version], rule: Rule, seed: int) -> None:
    """Consider one version, if there is something to go by."""
    mine = _evidence(each, rule)
    if mine is None:
        return
    seen = tracking.standing(uri, each.name)
    if seen.champion is not None and each.version < seen.champion:
        return
    theirs = None
    if seen.champion not in (None, each.version):
        others = [other for other in registered if (other.name, other.version) == (each.name, seen.champion)]
        found = [_evidence(other, rule) for other in others if other.note["shards"] == each.note["shards"]]
        theirs = next((one for one in found if one is not None), None)
        if theirs is None:
            asked = f"was not evaluated here; `herbray promote {each.name}` compares them"
            why = "was evaluated on other shards" if others else asked
            said = "%s version %d: not compared with the champion, version %s, which %s"
            _log.warning(said, each.name, each.version, seen.champion, why)
            return
    try:
        consider(uri, each.name, each.version, seen, mine, theirs, rule, seed)
    except (tracking.PromotionHeld, tracking.PromotionOvertaken) as error:  # the results stand whoever is champion
        _log.warning("%s", error)


def _evidence(each: _Version, rule: Rule) -> Evidence | None:
    return evidence(each.note["shards"], each.entry.outcomes, rule)
