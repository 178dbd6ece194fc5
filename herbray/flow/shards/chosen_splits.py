"""Which of the splits that are to be embedded hold specimens."""

from collections.abc import Mapping, Sequence

from herbray import schema


def nonempty_splits(
    splits: Sequence[str], named: bool, sizes: Mapping[str, int], absent: Mapping[str, str]
) -> tuple[str, ...]:
    """The splits that hold specimens: a default one may be empty, one that the user named may not.

    Args:
        splits: that are to be embedded.
        named: whether the user wrote them out.
        sizes: specimens of each split of the shards.
        absent: why a split holds none, where that is known.

    Raises:
        ValueError: a split is unknown; one that the user named, or every one, holds no specimen.
    """
    unknown = set(splits) - set(schema.SPLITS)
    if unknown:
        raise ValueError(f"splits: {', '.join(sorted(unknown))} unknown; there are {', '.join(schema.SPLITS[:-1])}")
    there = tuple(name for name in splits if sizes.get(name))
    if len(there) < (len(splits) if named else 1):
        reasons = {name: f" ({absent[name]})" if name in absent else "" for name in splits if name not in there}
        empty = ", ".join(f"{name}{why}" for name, why in reasons.items())
        have = ", ".join(f"{name} ({rows})" for name, rows in sizes.items())
        raise ValueError(f"embed: splits: no specimen is in {empty}; there are {have}")
    return there
