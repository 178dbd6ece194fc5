"""The sample of specimens that an encoder is validated on, and its batches: pure functions of names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.draws import draw_numbers
from herbray.data.sorted_codes import encode_sorted

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ValidationSample:
    """The validation sample of a run.

    Attributes:
        specimens: n rows of the validation split, in the order of the draw, with all their columns.
        labels: Int64 [n], indices into the class list; -1 for other names.
        kinds: Int64 [n], a number for each name, also for those that are not classes.
        gatherings: Int64 [n], a number for each gathering; each specimen of unknown gathering has its own number.
        batches: Int64 [batches, batch], indices into the sample, see `arrange_batches`.
        obstacle: why k-NN accuracy cannot be measured on this sample, and which setting to change; else empty.
    """

    specimens: pa.Table
    labels: Ints
    kinds: Ints
    gatherings: Ints
    batches: Ints
    obstacle: str


def plan_validation(
    specimens: pa.Table, classes: Sequence[str], most: int, batch: int, group: int, rivals: int
) -> ValidationSample:
    """Draw the sample and arrange it into batches.

    Args:
        specimens: all rows of the validation split, at least one, with `specimen_id`, `label` and `gathering`.
        classes: the labels of the training split; a label is an index into them.
        most: maximum number of specimens in the sample.
        batch: rows per batch.
        group: adjacent rows of one label; divides `batch` - `rivals`.
        rivals: rows of any label at the end of each batch.
    """
    chosen = draw_sample(specimens, most)
    place = {name: number for number, name in enumerate(classes)}
    names = chosen["label"].to_pylist()
    kinds = encode_sorted(chosen["label"])[0]
    return ValidationSample(
        chosen,
        np.array([place.get(name, -1) for name in names], np.int64),
        kinds,
        number_gatherings(chosen["gathering"]),
        arrange_batches(chosen["specimen_id"].to_pylist(), kinds, batch, group, rivals),
        _find_obstacle(specimens, chosen),
    )


def draw_sample(specimens: pa.Table, most: int) -> pa.Table:
    """Draw at most `most` specimens by a hash of their ids, each with a specimen to compare it with.

    The k-NN accuracy of a specimen can be measured only if the sample has a second gathering of its label. A small
    simple random sample from many labels rarely has one: of 4,096 specimens drawn from 85,000 of 6,437 labels, 47 %
    would count if all labels had the same size, and 75 % with a long tail of sizes. Therefore the first specimen drawn
    of a label is followed by a partner: the specimen of another gathering of the label that would be drawn first. With
    partners, at least 97 % count, of twice as many labels as in a simple sample. Apart from partners, labels are drawn
    in proportion to their specimens. If `most` is at least the size of the split, the sample is the whole split. The
    last specimen lacks its partner if `most` cuts between the two.

    The sample depends only on the specimens' ids, labels and gatherings, and on `most`: trials of a sweep, seeds of a
    study and shards with other bag sizes are validated on the same specimens. An additional specimen changes only
    itself, the partner of its label, and the specimens that these two displace at the end of the sample.

    Args:
        specimens: rows with `specimen_id` (unique), `label` and `gathering` (null where unknown), in any order.
        most: maximum number of specimens.

    Returns:
        The sampled rows, in the order of the draw.
    """
    drawn = specimens.take(
        np.argsort(draw_numbers(0, "validation", specimens["specimen_id"].to_pylist()), kind="stable")
    )
    turns = _place_partners(encode_sorted(drawn["label"])[0], number_gatherings(drawn["gathering"]))
    return drawn.take(np.argsort(turns, kind="stable")[:most])


def _place_partners(kinds: Ints, gatherings: Ints) -> Ints:
    """Return sort keys [n] that move the partner of each label right after the first row of the label."""
    turns = 2 * np.arange(len(kinds))
    _, first, kind = np.unique(kinds, return_index=True, return_inverse=True)
    lead = first[kind]
    others = np.flatnonzero(gatherings != gatherings[lead])
    partners = others[np.unique(kinds[others], return_index=True)[1]]
    turns[partners] = 2 * lead[partners] + 1
    return turns


def number_gatherings(gatherings: pa.ChunkedArray) -> Ints:
    """Number the gatherings of rows [n]; each row with a null gathering gets its own number."""
    codes, names = encode_sorted(gatherings)
    unknown = pc.is_null(gatherings).to_numpy()
    numbers: Ints = np.where(unknown, len(names) + np.arange(len(codes)), codes)
    return numbers


def has_pairs(kinds: Ints, gatherings: Ints) -> bool:
    """Check whether any label has two gatherings."""
    pairs = np.unique(np.stack([kinds, gatherings]), axis=1)
    return bool(len(np.unique(pairs[0])) < pairs.shape[1])


def _find_obstacle(specimens: pa.Table, chosen: pa.Table) -> str:
    if _sample_has_pairs(chosen):
        return ""
    names = len(pc.unique(chosen["label"]))
    if _sample_has_pairs(specimens):
        return (
            f"none of the {names} names among {len(chosen)} specimens of the validation split has two gatherings to "
            "compare: raise validate_rows"
        )
    return (
        f"none of the {names} names of the validation split has two gatherings to compare: write the shards with "
        "a larger splits.validation, or from a catalogue whose column `gathering` distinguishes gatherings of one name"
    )


def _sample_has_pairs(specimens: pa.Table) -> bool:
    return has_pairs(encode_sorted(specimens["label"])[0], number_gatherings(specimens["gathering"]))


def arrange_batches(names: Sequence[str], kinds: Ints, batch: int, group: int, rivals: int) -> Ints:
    """Arrange a sample into batches of the shape that an objective is trained on.

    Every row is in a group of `group` rows of its label. The last group of a label is filled with repeated rows, from
    the first row of the label. Groups of all labels are shuffled by hash, and the last batch is filled with groups from
    the beginning. The rivals of each batch are drawn by hash: first a label, all equally likely, then a row of the
    label.

    Args:
        names: ids of the n specimens of a sample, in the order of the draw.
        kinds: Int64 [n], a number for each label.
        batch: rows per batch.
        group: rows per group; divides `batch` - `rivals`.
        rivals: rows of any label at the end of each batch.

    Returns:
        Int64 [batches, batch], indices into the sample.
    """
    groups = np.concatenate([*_form_groups(kinds, group)])
    order = draw_numbers(0, "validation group", [names[first] for first in groups[:, 0].tolist()])
    rows = batch - rivals
    batches = -(-groups.size // rows)
    filled = np.resize(groups[np.argsort(order, kind="stable")], (batches, rows))
    return np.concatenate([filled, _draw_rivals(kinds, batches, rivals)], axis=1)


def _form_groups(kinds: Ints, group: int) -> Iterator[Ints]:
    """Yield the groups [groups, group] of each label, in the order of the draw."""
    order = np.argsort(kinds, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        yield np.resize(rows, (-(-len(rows) // group), group))


def _draw_rivals(kinds: Ints, batches: int, rivals: int) -> Ints:
    """Draw indices [batches, rivals] of rows of random labels."""
    order = np.argsort(kinds, kind="stable")
    _, first, sizes = np.unique(kinds[order], return_index=True, return_counts=True)
    keys = [f"{number}/{place}" for number in range(batches) for place in range(rivals)]
    kind = (draw_numbers(0, "validation rival genus", keys) % len(first)).astype(np.int64)
    row = (draw_numbers(0, "validation rival row", keys) % sizes[kind].astype(np.uint64)).astype(np.int64)
    places: Ints = order[first[kind] + row]
    return places.reshape(batches, rivals)
