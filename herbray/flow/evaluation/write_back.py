"""The write-back of an evaluation to the registry: each encoder's run and model card, and the alias `champion`."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray import storage, tables, tracking
from herbray.flow.embedding_folder import describe_remedy, read_note
from herbray.flow.evaluation.card_section import format_section
from herbray.flow.evaluation.comparison import Evidence, PromotionRule, find_evidence, judge_candidate

SECTION: Final = "Results"
"""Heading of the model card's section that an evaluation writes."""

_URI: Final = re.compile(r"models:/(?P<name>[^/@:]+)/(?P<version>\d{1,9})")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderResults:
    """The results of one embeddings folder, in `schema.RESULT` and `schema.OUTCOME`."""

    folder: Path
    results: pa.Table
    outcomes: pa.Table


@dataclass(frozen=True)
class _EvaluatedVersion:
    name: str
    version: int
    entry: EncoderResults
    note: dict[str, Any]


def write_back(store: Path, rule: PromotionRule, seed: int, entries: Sequence[EncoderResults]) -> None:
    """Log each registered encoder's results to its run and its model card, and promote versions that are better.

    The first champion of a model is the lowest version with the rule's metric. A later version becomes champion by the
    rule of `herbray promote`, if the champion's embeddings of the same shards are among the entries. Versions older
    than the champion are not compared with it, because each comparison uses up a look at the evaluation set. If another
    job holds a model's lock, a warning says what was left out; the results are complete without it.

    Raises:
        ModelNotFound: embeddings name a model or version that is not in the registry.
    """
    registered = sorted(_find_versions(entries), key=lambda each: (each.name, each.version, each.note["shards"]))
    if not registered:
        return
    uri = tracking.tracking_uri(store)
    for each in registered:
        tracking.log_results(tracking.training_run(uri, each.name, each.version), each.entry.results)
        _write_section(uri, each, rule)
    for each in registered:
        _judge(uri, each, registered, rule, seed)


def _find_versions(entries: Sequence[EncoderResults]) -> list[_EvaluatedVersion]:
    found = []
    for entry in entries:
        note = read_note(entry.folder)
        if match := _URI.fullmatch(note["uri"]):
            found.append(_EvaluatedVersion(match["name"], int(match["version"]), entry, note))
    return found


def _write_section(uri: str, each: _EvaluatedVersion, rule: PromotionRule) -> None:
    text = format_section(
        each.entry.results, each.entry.outcomes, _read_families(each.entry.folder), rule.key, each.note["shards"]
    )
    try:
        with tracking.promotion_lock(uri, each.name):
            card = tracking.read_card(uri, each.name, each.version)
            tracking.write_card(uri, each.name, each.version, tracking.replace_section(card, SECTION, text))
    except tracking.PromotionLocked as error:
        _log.warning("%s version %d: these results are not in its model card: %s", each.name, each.version, error)


def _read_families(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in storage.glob(folder, "split=*/part-*.parquet"):
        rows = tables.read(file, describe_remedy(folder), columns=["specimen_id", "family"])
        named = rows.filter(pc.is_valid(rows["family"]))
        found |= dict(zip(named["specimen_id"].to_pylist(), named["family"].to_pylist(), strict=True))
    return found


def _judge(
    uri: str, each: _EvaluatedVersion, registered: Sequence[_EvaluatedVersion], rule: PromotionRule, seed: int
) -> None:
    """Judge one version, if its results contain the rule's metric."""
    mine = _evidence_of(each, rule)
    if mine is None:
        return
    standing = tracking.read_standing(uri, each.name)
    if standing.champion is not None and each.version < standing.champion:
        return
    theirs = None
    if standing.champion not in (None, each.version):
        others = [other for other in registered if (other.name, other.version) == (each.name, standing.champion)]
        found = [_evidence_of(other, rule) for other in others if other.note["shards"] == each.note["shards"]]
        theirs = next((evidence for evidence in found if evidence is not None), None)
        if theirs is None:
            missing = f"was not evaluated in this job; `herbray promote {each.name}` compares them"
            why = "was evaluated on other shards" if others else missing
            message = "%s version %d: not compared with the champion, version %s, which %s"
            _log.warning(message, each.name, each.version, standing.champion, why)
            return
    try:
        judge_candidate(uri, each.name, each.version, standing, mine, theirs, rule, seed)
    except (
        tracking.PromotionLocked,
        tracking.PromotionOvertaken,
    ) as error:  # the results do not depend on the champion
        _log.warning("%s", error)


def _evidence_of(each: _EvaluatedVersion, rule: PromotionRule) -> Evidence | None:
    return find_evidence(each.note["shards"], each.entry.outcomes, rule)
