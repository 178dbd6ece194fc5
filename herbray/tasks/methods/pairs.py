"""Pairs of genera to distinguish: named in the settings, or chosen from the labels alone."""

import math
from collections import Counter
from typing import Final, Literal, Self

import numpy as np
from pydantic import model_validator

from herbray.config import Spec
from herbray.tasks.interface.embeddings import Embeddings, Features, Floats, Indices, Mask, UnscorableError
from herbray.tasks.methods.classes import select_classes
from herbray.tasks.methods.units import embeddings_units

_CHUNK: Final = 4096  # rows in 64 bits at a time


class Pair(Spec):
    """Two genera to distinguish.

    Attributes:
        positive: the genus whose precision and recall are scored.
        negative: the other.
        kind: "similar" or "distinct"; only shown to readers, has no effect on scores.
    """

    positive: str
    negative: str
    kind: Literal["similar", "distinct"]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.positive == self.negative:
            raise ValueError(f"a pair needs two genera, not {self.positive!r} twice")
        return self

    @property
    def level(self) -> str:
        """The pair as results name it, e.g. "Syzygium–Eugenia"."""
        return f"{self.positive}–{self.negative}"


def choose_pairs(embeddings: Embeddings, at_least: int) -> tuple[Pair, ...]:
    """Choose pairs for any flora from the labels alone, so that every encoder of these specimens gets the same pairs.

    Similar: among all pairs of genera in one family, the pair whose rarer genus has the most specimens; the more
    frequent genus is the positive. Distinct: the same positive with the most frequent genus of another order. If one of
    the two kinds is impossible (no family has two such genera, or there is only one order), only the other is returned.
    Ties are broken alphabetically. Specimens known to be filed under a wrong genus are not counted.

    Args:
        embeddings: specimens of the split.
        at_least: number of gatherings that a genus needs.

    Raises:
        UnscorableError: neither kind is possible.
    """
    sizes = _genus_sizes(embeddings.take(~is_known_wrong(embeddings)), at_least)
    genera = sorted(sizes, key=lambda genus: (-sizes[genus], genus))
    family, order = _parents(embeddings, "family"), _parents(embeddings, "order")
    pairs = []
    similar = _most_similar_pair(genera, sizes, family)
    if similar:
        pairs.append(Pair(positive=similar[0], negative=similar[1], kind="similar"))
    positive = similar[0] if similar else next((genus for genus in genera if genus in order), None)
    for genus in genera:
        if positive in order and genus in order and order[genus] != order[positive]:
            pairs.append(Pair(positive=positive, negative=genus, kind="distinct"))
            break
    if not pairs:
        raise UnscorableError(
            f"among the genera in {at_least} or more gatherings, no two of {_list_genera(genera)} share a family or "
            "differ in order",
            way_out="set `pairs`, or embed more specimens",
        )
    return tuple(pairs)


def measure_similarity(embeddings: Embeddings, pair: Pair) -> dict[str, float]:
    """Measure how close the two genera of a pair are in a representation.

    Args:
        embeddings: specimens of the split, including other genera.
        pair: two genera of the split.

    Returns:
        `separation`: the distance between the means of the two genera, divided by the root mean square distance of
        their specimens from their own mean, with equal weight for both genera (the square root of Fisher's criterion;
        0 if all coincide). It has no unit and is comparable between encoders. `similarity`, if there are other genera
        with two or more specimens: the share of these whose mean is farther from the mean of the positive than the mean
        of the negative is; 1 if the negative is the nearest of all genera. Means of few specimens are noisy and thus
        appear farther apart: the sampling variance of both means is subtracted from each squared distance, which makes
        it unbiased.
    """
    named = embeddings.genus.known()
    present, codes, sizes = np.unique(embeddings.genus.codes[named], return_inverse=True, return_counts=True)
    means, spread = _means_and_spread(embeddings.features, named, codes, sizes)
    here, there = np.searchsorted(embeddings.genus.names[present], [pair.positive, pair.negative])
    scatter = spread / sizes
    squared = ((means - means[here]) ** 2).sum(axis=1) - scatter - scatter[here]
    width = float(np.sqrt(spread[[here, there]].mean()))
    found = {"separation": math.sqrt(max(0.0, float(squared[there]))) / width if width else 0.0}
    several = sizes > 1
    several[[here, there]] = False
    others = squared[several]
    return found | ({"similarity": float((others > squared[there]).mean())} if len(others) else {})


def _means_and_spread(features: Features, rows: Indices, codes: Indices, sizes: Indices) -> tuple[Floats, Floats]:
    """Mean [k, d] and variance [k] of the rows of each class, computed block by block."""
    means, squares = np.zeros((len(sizes), features.shape[1])), np.zeros(len(sizes))
    parts = [slice(start, start + _CHUNK) for start in range(0, len(rows), _CHUNK)]
    for part in parts:
        np.add.at(means, codes[part], features[rows[part]].astype(np.float64))
    means /= sizes[:, None]
    for part in parts:
        apart = ((features[rows[part]].astype(np.float64) - means[codes[part]]) ** 2).sum(axis=1)
        squares += np.bincount(codes[part], apart, minlength=len(sizes))
    return means, squares / np.maximum(1, sizes - 1)


def select_pair(embeddings: Embeddings, pair: Pair, at_least: int, where: str) -> tuple[Indices, Indices]:
    """Rows of the two genera of a pair [m], and their classes [m]: 1 the positive, 0 the negative.

    Raises:
        UnscorableError: a genus has fewer than `at_least` gatherings; the message contains `where` and the genera
            present.
    """
    units = embeddings_units(embeddings)
    for genus in (pair.positive, pair.negative):
        gatherings = len(np.unique(units[embeddings.genus == genus]))
        if gatherings < at_least:
            sizes = _genus_sizes(embeddings, 1)
            present = sorted(sizes, key=lambda name: (-sizes[name], name))
            raise UnscorableError(
                f"{sizes[genus]} specimens of {genus!r} in {gatherings} gatherings, "
                f"but {at_least} gatherings are needed",
                f"{where}, pair {pair.level}",
                f"the most frequent genera are {_list_genera(present)}: choose `pairs` from them, or leave it empty",
            )
    rows = np.flatnonzero((embeddings.genus == pair.positive) | (embeddings.genus == pair.negative))
    return rows, (embeddings.genus[rows] == pair.positive).astype(np.intp)


def is_known_wrong(embeddings: Embeddings) -> Mask:
    """Whether the true species is known to be in another genus than the one under which the specimen is filed: [n]."""
    wrong = np.zeros(len(embeddings), dtype=bool)
    known = embeddings.true_species.known()
    pairs = zip(embeddings.true_species[known], embeddings.genus[known], strict=True)
    wrong[known] = [true.split(" ")[0] != filed for true, filed in pairs]
    return wrong


def _genus_sizes(embeddings: Embeddings, at_least: int) -> Counter[str]:
    """Number of specimens of each genus that has `at_least` gatherings."""
    rows, _, _ = select_classes(embeddings.genus, embeddings_units(embeddings), at_least)
    return Counter(embeddings.genus[rows])


def _parents(embeddings: Embeddings, rank: str) -> dict[str, str]:
    """The family or order under which most specimens of each genus are filed; genera without a parent are left out."""
    votes = Counter(zip(embeddings.genus, embeddings.rank(rank), strict=True))
    parents: dict[str, str] = {}
    known = [(pair, count) for pair, count in votes.items() if None not in pair]
    for (genus, parent), _ in sorted(known, key=lambda item: (-item[1], item[0])):
        parents.setdefault(genus, parent)
    return parents


def _most_similar_pair(genera: list[str], sizes: Counter[str], family: dict[str, str]) -> tuple[str, str] | None:
    """The two largest genera of the family whose second genus is largest; ties go to the larger first genus."""
    best: dict[str, list[str]] = {}
    for genus in genera:
        if genus in family:
            best.setdefault(family[genus], []).append(genus)
    tops = [(members[0], members[1]) for members in best.values() if len(members) > 1]
    return min(tops, key=lambda top: (-sizes[top[1]], -sizes[top[0]], top), default=None)


def _list_genera(genera: list[str]) -> str:
    return ", ".join(genera[:12]) + (f" and {len(genera) - 12} more" if len(genera) > 12 else "") or "(none)"
