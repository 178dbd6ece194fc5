"""The summary in words, computed from the results.

An encoder leads only if `Scores.is_higher` is true against every rival; otherwise the page says "undecided".
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from herbray.report.scores import Cell, Gain, Scores, Series, split_name
from herbray.report.text import clean

_MOST_GAINS: Final = 4  # in one sentence

LEADS, UNDECIDED, ALONE = "leads", "undecided", "only one"
ABOVE, BELOW = "above", "below"


@dataclass(frozen=True)
class Finding:
    """The result of one comparison: the best trained encoder, the next best, and the best frozen one.

    Attributes:
        question: what is compared, e.g. "genus on H (herbarium)".
        leader: the trained series with the highest mean.
        cell: score of the leader.
        rival: the next trained series and its score; None if there is no other.
        lead: `LEADS`, `UNDECIDED` or `ALONE`.
        baseline: the best frozen series (start weights or a published network), and its score.
        gain: paired difference of leader and baseline; None if they were not compared on the same specimens.
        training: `ABOVE`, `UNDECIDED` or `BELOW` the baseline; None without a baseline.
        floor: score of guessing, if known.
        order: all trained series from the highest, separated by ">" if clearly above the next, else by "≈".
        note: a remark on the score of the leader.
    """

    question: str
    leader: Series
    cell: Cell
    rival: tuple[Series, Cell] | None
    lead: str
    baseline: tuple[Series, Cell] | None
    gain: Gain | None
    training: str | None
    floor: float | None
    order: str
    note: str = ""


def find_leader(
    scores: Scores,
    question: str,
    place: tuple[str, str, str, str],
    floor: float | None = None,
    veto: Callable[[Series, Series], bool] | None = None,
) -> Finding | None:
    """Compare all series in one (task, split, level, metric); None if no trained series has a value.

    Args:
        scores: the results.
        question: name of the comparison on the page.
        place: task, split, level and metric; higher is better.
        floor: score of guessing.
        veto: given the leader and another series, whether the leader must not be called better.
    """
    cells = [(one, cell) for one in scores.series if (cell := scores.cell(one, *place)) is not None]
    ranked = sorted((pair for pair in cells if pair[0].is_trained), key=lambda pair: -pair[1].mean)
    if not ranked:
        return None
    leader, cell = ranked[0]
    rivals = ranked[1:]
    lead = ALONE
    if rivals:  # every rival, not only the next: a wide interval further down may reach higher
        clear = all(scores.is_higher(leader, one, place) and not (veto and veto(leader, one)) for one, _ in rivals)
        lead = LEADS if clear else UNDECIDED
    frozen = [pair for pair in cells if not pair[0].is_trained]
    baseline = max(frozen, key=lambda pair: pair[1].mean, default=None)
    gain = scores.gain(leader, baseline[0], place) if baseline else None
    training = None
    if baseline:
        vetoed = veto is not None and veto(leader, baseline[0])
        training = ABOVE if scores.is_higher(leader, baseline[0], place) and not vetoed else UNDECIDED
        training = BELOW if scores.is_higher(baseline[0], leader, place) else training
    rival = rivals[0] if rivals else None
    order = _write_order(scores, place, ranked)
    return Finding(question, leader, cell, rival, lead, baseline, gain, training, floor, order)


def _write_order(scores: Scores, place: tuple[str, str, str, str], ranked: Sequence[tuple[Series, Cell]]) -> str:
    text = ranked[0][0].label
    for (one, _), (other, _) in pairwise(ranked):
        text += f" {'>' if scores.is_higher(one, other, place) else '≈'} {other.label}"
    return text


def identification_findings(scores: Scores, task: str, metric: str, floor: str | None) -> list[Finding]:
    """Findings on naming the genus, for each split; the narrowest rank if genus was not measured."""
    levels = scores.levels(task)
    level = "genus" if "genus" in levels else next(iter(levels), "")
    findings = []
    for split in scores.splits(task):
        guess = scores.shared_cell(task, split, level, floor) if floor else None
        question = f"{clean(level)} on {split_name(split)}"
        findings.append(find_leader(scores, question, (task, split, level, metric), guess.mean if guess else None))
    return [finding for finding in findings if finding]


def discrimination_findings(
    scores: Scores, task: str, metric: str, floor: float | None, pairs: Sequence[str]
) -> list[Finding]:
    """Findings on distinguishing two genera, for each pair and split."""
    found = [
        find_leader(scores, f"{clean(pair)} on {split_name(split)}", (task, split, pair, metric), floor)
        for pair in pairs
        for split in scores.splits(task)
    ]
    return [finding for finding in found if finding]


def mislabel_findings(scores: Scores, task: str, tpr: str, fpr: str, pairs: Sequence[str]) -> list[Finding]:
    """Findings on planted errors; an encoder that flags clearly more correct labels than a rival does not lead."""

    def judge(split: str, pair: str) -> Finding | None:
        def flags_more(leader: Series, other: Series) -> bool:
            return scores.is_higher(leader, other, (task, split, pair, fpr))

        finding = find_leader(
            scores, f"{clean(pair)} on {split_name(split)}", (task, split, pair, tpr), None, flags_more
        )
        cost = scores.cell(finding.leader, task, split, pair, fpr) if finding else None
        return replace(finding, note=f"flags {100 * cost.mean:.1f}% of correct labels") if finding and cost else finding

    found = [judge(split, pair) for pair in pairs for split in scores.splits(task)]
    return [finding for finding in found if finding]


def summarise_findings(findings: Sequence[Finding], metric: str) -> list[str]:
    """Summarise the gain over the best frozen encoder, who leads, and the best scores; `metric` is in words."""
    if not findings:
        return ["There are no results for this application."]
    return [*_what_training_was_worth(findings), _who_leads(findings), _best_scores(findings, metric)]


def _who_leads(findings: Sequence[Finding]) -> str:
    total = len(findings)
    clear = Counter(finding.leader.label for finding in findings if finding.lead == LEADS)
    if all(finding.lead == ALONE for finding in findings):
        return f"Only {findings[0].leader.label} was evaluated, so there is no comparison."
    if not clear:
        highest = Counter(finding.leader.label for finding in findings)
        names = ", ".join(f"{name} {_count_of(count, total)}" for name, count in highest.most_common())
        return f"Undecided: in no comparison is one encoder clearly better than all others. Highest mean: {names}."
    parts = [f"{name} leads clearly {_count_of(count, total)}" for name, count in clear.most_common()]
    rest = total - sum(clear.values())
    tail = f"; {rest} undecided" if rest else ""
    text = " and ".join(parts) + tail + "."
    return text[0].upper() + text[1:]


def _what_training_was_worth(findings: Sequence[Finding]) -> list[str]:
    judged = [finding for finding in findings if finding.training]
    if not judged:
        return ["No frozen encoder was evaluated, so nothing shows what training was worth."]
    gains = [finding for finding in judged if finding.gain]
    if gains and len(gains) <= _MOST_GAINS:
        return [f"What training gained: {'; '.join(map(_write_gain, gains))}."]
    above = sum(finding.training == ABOVE for finding in judged)
    below = sum(finding.training == BELOW for finding in judged)
    if above == len(judged):
        return [f"The best trained encoder is clearly better than the best frozen encoder {_count_of(above, above)}."]
    text = f"The best trained encoder is clearly better than the best frozen encoder {_count_of(above, len(judged))}"
    return [text + (f" and clearly worse {_count_of(below, len(judged))}." if below else ".")]


def _write_gain(finding: Finding) -> str:
    """E.g. "genus on R (random): triplet +9.3 points over efficientnet_lite0 (7.0 to 11.8)"."""
    gain, baseline = finding.gain, finding.baseline
    if gain is None or baseline is None:
        return finding.question
    mean, low, high = (100 * value for value in (gain.mean, gain.low, gain.high))
    doubt = ", undecided" if low <= 0 <= high else ""
    gained = f"{finding.leader.label} {mean:+z.1f} points over {baseline[0].label}"
    return f"{finding.question}: {gained} ({low:z.1f} to {high:z.1f}{doubt})"


def _best_scores(findings: Sequence[Finding], metric: str) -> str:
    text = f"Best {metric}: {_range([finding.cell for finding in findings])}"
    untrained = [finding.baseline[1] for finding in findings if finding.baseline]
    return text + (f"; best frozen encoder: {_range(untrained)}." if untrained else ".")


def _range(cells: Sequence[Cell]) -> str:
    low, high = (f"{100 * end:.1f}" for end in (min(c.mean for c in cells), max(c.mean for c in cells)))
    return f"{low}%" if low == high else f"{low}–{high}%"


def _count_of(count: int, total: int) -> str:
    if total == 1:
        return "in the only comparison" if count else "in no comparison"
    if count == total:
        return "in both comparisons" if total == 2 else f"in all {total} comparisons"
    return f"in {count} of {total} comparisons"
