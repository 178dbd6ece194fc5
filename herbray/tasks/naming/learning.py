"""What is learned from the named specimens: probes, calibrations and thresholds of each rank, and the open-set rule."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from herbray.schema import RANKS
from herbray.tasks.interface.embeddings import Embeddings, UnscorableError
from herbray.tasks.methods.probe import ProbeTask
from herbray.tasks.naming.confidence import Threshold, Trust, choose_threshold, measure_trust
from herbray.tasks.naming.open_set import OpenSet, measure_open_set
from herbray.tasks.naming.rank_model import NOTHING, RankModel, learn_rank

Case = tuple[str, str]
"""A rank, and the wider rank whose name is given, or `NOTHING`."""


@dataclass(frozen=True, eq=False)
class Namer:
    """Names specimens; see `learn_names`.

    Attributes:
        models: rank → its names and probe, widest rank first.
        trusts: case → how far its suggestions can be trusted.
        thresholds: case → the least confidence that is accepted.
        open_set: how well unknown names are recognised; None if that cannot be measured.
        notes: sentences on what the labels do not allow.
    """

    models: Mapping[str, RankModel]
    trusts: Mapping[Case, Trust]
    thresholds: Mapping[Case, Threshold]
    open_set: OpenSet | None
    notes: tuple[str, ...]


def learn_names(
    embeddings: Embeddings,
    cases: Collection[Case],
    settings: ProbeTask,
    accuracy: float,
    alarms: float,
    left_out: str,
    seed: int,
) -> Namer:
    """Learn the names of the ranks that occur in the cases.

    Args:
        embeddings: the named specimens.
        cases: that are needed; ranks are learned from the widest to the narrowest.
        settings: of the probes.
        accuracy: wanted share of right names among the accepted ones, at each rank.
        alarms: accepted share of known names that are taken for unknown.
        left_out: rank whose names are left out to measure the open-set rule.
        seed: of the folds.

    Raises:
        UnscorableError: no rank can be learned.
    """
    notes: list[str] = []
    models: dict[str, RankModel] = {}
    trusts: dict[Case, Trust] = {}
    pairs = {*cases, *((rank, NOTHING) for rank, _ in cases)}
    wanted = sorted(pairs, key=lambda case: (RANKS.index(case[0]), case[1]))
    open_set = None
    with threadpool_limits(limits=settings.threads):
        for rank in dict.fromkeys(rank for rank, _ in cases):
            try:
                models[rank] = learn_rank(embeddings, rank, settings, seed)
            except UnscorableError as error:
                notes.append(f"No names are suggested at rank {rank}: {error.reason}.")
        for rank, given in wanted:
            if rank not in models:
                continue
            try:
                trusts[rank, given] = measure_trust(models[rank], embeddings, given)
            except UnscorableError as error:
                notes.append(f"Names at rank {given} are not used to narrow {rank}: {error.reason}.")
        if not models:
            raise UnscorableError(
                " ".join(notes), "", "embed more named sheets, lower probe.folds or choose a wider rank"
            )
        if left_out in models:
            try:
                calibration = trusts[left_out, NOTHING].calibration
                open_set = measure_open_set(models[left_out], embeddings, calibration, settings, alarms, seed)
            except UnscorableError as error:
                notes.append(f"Unknown names are not recognised: {error}.")
        else:
            notes.append(f"Unknown names are not recognised: no name is suggested at rank {left_out} (open_set.rank).")
    thresholds = {case: choose_threshold(trust, accuracy) for case, trust in trusts.items()}
    return Namer(models, trusts, thresholds, open_set, tuple(notes))
