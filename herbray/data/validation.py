"""Which specimens an encoder is validated on, and the batches in which they are embedded: pure functions of names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.draws import draws
from herbray.data.ranks import ranked

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Validation:
    """The validation sample of a run.

    Attributes:
        specimens: n rows of the validation split, in the order of the draw, with the columns that they came with.
        labels: Int64 [n], places in the class list; -1 for a genus outside it.
        genera: Int64 [n], a number for each genus.
        gatherings: Int64 [n], a number for each gathering; a specimen without a known one has a number of its own.
        batches: Int64 [batches, batch], places in the sample, see `arrange`.
        obstacle: why k-NN accuracy cannot be measured on this sample, and which setting to change; empty if it can.
    """

    specimens: pa.Table
    labels: Ints
    genera: Ints
    gatherings: Ints
    batches: Ints
    obstacle: str


def plan_validation(
    specimens: pa.Table, classes: Sequence[str], most: int, batch: int, group: int, rivals: int
) -> Validation:
    """Draw the sample and arrange it into batches.

    Args:
        specimens: all rows of the validation split, at least one; `specimen_id`, `genus` and `gathering` are needed.
        classes: the genera of the training split; a label is a place in it.
        most: specimens in the sample.
        batch: rows of a batch.
        group: rows of one genus side by side; divides `batch` less `rivals`.
        rivals: rows of any genus at the end of each batch.
    """
    chosen = sample(specimens, most)
    place = {genus: number for number, genus in enumerate(classes)}
    names = chosen["genus"].to_pylist()
    genera = ranked(chosen["genus"])[0]
    return Validation(
        chosen,
        np.array([place.get(name, -1) for name in names], np.int64),
        genera,
        numbered(chosen["gathering"]),
        arrange(chosen["specimen_id"].to_pylist(), genera, batch, group, rivals),
        _obstacle(specimens, chosen),
    )


def sample(specimens: pa.Table, most: int) -> pa.Table:
    """Draw at most `most` specimens by a hash of their ids, each with a specimen to compare it with.

    The k-NN accuracy of a specimen needs a second gathering of its genus in the sample. A plain draw of few from many
    genera rarely has one: of 4,096 specimens drawn from 85,000 of 6,437 genera, 47 % would count where genera are of
    one size and 75 % under a long tail of sizes. So the first specimen drawn of a genus brings a partner along: of the
    genus's specimens of other gatherings the one that would be drawn first. With partners 97 % and more count, of twice
    as many genera as in the plain draw. Beyond its partner a genus is drawn in proportion to its specimens, as in the
    whole split, and where `most` reaches the whole split the sample is the whole split. The last specimen may lack its
    partner, where `most` cuts between the two.

    The sample follows from the specimens' ids, genera and gatherings and from `most` alone: trials of a sweep, seeds of
    a study and shards with bags of another size are judged on the same specimens. A specimen more changes no more than
    itself, the partner of its genus, and as many at the end of the draw as these displace.

    Args:
        specimens: rows with `specimen_id` (unique), `genus` and `gathering` (null where unknown), in any order.
        most: specimens.

    Returns:
        The rows drawn, in the order of the draw.
    """
    drawn = specimens.take(np.argsort(draws(0, "validation", specimens["specimen_id"].to_pylist()), kind="stable"))
    turns = _turns(ranked(drawn["genus"])[0], numbered(drawn["gathering"]))
    return drawn.take(np.argsort(turns, kind="stable")[:most])


def _turns(genera: Ints, gatherings: Ints) -> Ints:
    """When each row of a drawn sequence has its turn [n]: a genus's partner comes right after the genus's first row."""
    turns = 2 * np.arange(len(genera))
    _, first, genus = np.unique(genera, return_index=True, return_inverse=True)
    lead = first[genus]
    others = np.flatnonzero(gatherings != gatherings[lead])
    partners = others[np.unique(genera[others], return_index=True)[1]]
    turns[partners] = 2 * lead[partners] + 1
    return turns


def numbered(gatherings: pa.ChunkedArray) -> Ints:
    """A number for each row [n], the same for rows of one gathering; null is a gathering of its own."""
    codes, names = ranked(gatherings)
    unknown = pc.is_null(gatherings).to_numpy()
    numbers: Ints = np.where(unknown, len(names) + np.arange(len(codes)), codes)
    return numbers


def paired(genera: Ints, gatherings: Ints) -> bool:
    """Whether any genus is of two gatherings."""
    pairs = np.unique(np.stack([genera, gatherings]), axis=1)
    return bool(len(np.unique(pairs[0])) < pairs.shape[1])


def _obstacle(specimens: pa.Table, chosen: pa.Table) -> str:
    if _has_pairs(chosen):
        return ""
    genera = len(pc.unique(chosen["genus"]))
    if _has_pairs(specimens):
        return (
            f"none of the {genera} genera among {len(chosen)} specimens of the validation split has two gatherings to "
            "compare: raise validate_rows"
        )
    return (
        f"none of the {genera} genera of the validation split has two gatherings to compare: make the shards with a "
        "larger splits.validation, or from a catalogue whose `gathering` tells the gatherings of a genus apart"
    )


def _has_pairs(specimens: pa.Table) -> bool:
    return paired(ranked(specimens["genus"])[0], numbered(specimens["gathering"]))


def arrange(names: Sequence[str], genera: Ints, batch: int, group: int, rivals: int) -> Ints:
    """Batches in the shape that an objective trains on.

    Every row stands in one group of `group` rows of its genus. A genus fills its last group with rows of its own that
    have a group already, once more from its first row. Groups of all genera are mixed by hash, and the last batch is
    filled with groups from the beginning. The rivals of each batch are drawn by hash: a genus, all alike, and a row of
    it.

    Args:
        names: ids of the n specimens of a sample, in the order of the draw.
        genera: Int64 [n].
        batch: rows of a batch.
        group: divides `batch` less `rivals`.
        rivals: rows at the end of each batch.

    Returns:
        Int64 [batches, batch], places in the sample.
    """
    groups = np.concatenate([*_groups(genera, group)])
    order = draws(0, "validation group", [names[first] for first in groups[:, 0].tolist()])
    rows = batch - rivals
    batches = -(-groups.size // rows)
    filled = np.resize(groups[np.argsort(order, kind="stable")], (batches, rows))
    return np.concatenate([filled, _rivals(genera, batches, rivals)], axis=1)


def _groups(genera: Ints, group: int) -> Iterator[Ints]:
    """The groups [groups, group] of each genus, in the order of the draw."""
    order = np.argsort(genera, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(genera[order])) + 1):
        yield np.resize(rows, (-(-len(rows) // group), group))


def _rivals(genera: Ints, batches: int, rivals: int) -> Ints:
    """Places [batches, rivals] of rows of random genera."""
    order = np.argsort(genera, kind="stable")
    _, first, sizes = np.unique(genera[order], return_index=True, return_counts=True)
    keys = [f"{number}/{place}" for number in range(batches) for place in range(rivals)]
    genus = (draws(0, "validation rival genus", keys) % len(first)).astype(np.int64)
    row = (draws(0, "validation rival row", keys) % sizes[genus].astype(np.uint64)).astype(np.int64)
    places: Ints = order[first[genus] + row]
    return places.reshape(batches, rivals)
