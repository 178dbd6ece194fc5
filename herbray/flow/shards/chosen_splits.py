"""Which of the splits to embed hold specimens."""

from collections.abc import Mapping, Sequence

from herbray import schema


def select_nonempty_splits(
    splits: Sequence[str], named: bool, sizes: Mapping[str, int], absent: Mapping[str, str]
) -> tuple[str, ...]:
    """The splits that hold specimens. A default split may be empty; a split that the user named may not.

    Args:
        splits: to embed.
        named: whether the user named the splits.
        sizes: number of specimens in each split of the shards.
        absent: why a split holds no specimen, if known.

    Raises:
        ValueError: a split is unknown, a split that the user named is empty, or all splits are empty.
    """
    unknown = set(splits) - set(schema.SPLITS)
    if unknown:
        raise ValueError(f"splits: {', '.join(sorted(unknown))} unknown; known splits: {', '.join(schema.SPLITS[:-1])}")
    there = tuple(name for name in splits if sizes.get(name))
    if len(there) < (len(splits) if named else 1):
        reasons = {name: f" ({absent[name]})" if name in absent else "" for name in splits if name not in there}
        empty = ", ".join(f"{name}{why}" for name, why in reasons.items())
        have = ", ".join(f"{name} ({rows})" for name, rows in sizes.items())
        raise ValueError(f"embed: splits: no specimens in {empty}; the shards hold {have}: list only these in splits")
    return there
