"""The number of comparisons made on an evaluation set to choose a champion, stored in tags of the registered model."""

import json
from typing import Any, Final

from herbray.tracking.champion.lock import promotion_lock
from herbray.tracking.registry import get_record
from herbray.tracking.store import client, digest

LOOKS_TAG: Final = "herbray.looks"
"""Prefix of the tags of a registered model that count looks: `herbray.looks.<digest of shards and metric>`, in JSON."""

_REMEMBERED: Final = 200  # pairs; MLflow limits the value of a tag to 5,000 characters


def record_look(uri: str, name: str, shards: str, metric: str, candidate: int, champion: int) -> int:
    """Record a comparison on an evaluation set and return its number, from 1; a repeated comparison keeps its number.

    An evaluation set is the combination of a registered model, a set of shards and a metric. The number is written
    before the comparison decides anything, so a killed job has still used its look.

    Args:
        uri: the store.
        name: the registered model.
        shards: fingerprint of the images.
        metric: task/split/level/metric.
        candidate: the version to compare.
        champion: the version to compare it with.

    Raises:
        ModelNotFound: the model does not exist.
        PromotionLocked: the lock was not released in time.
        ValueError: the tag was not written by this function.
    """
    key = f"{LOOKS_TAG}.{digest(json.dumps([shards, metric]))[:16]}"
    with promotion_lock(uri, name):
        looks = _read(get_record(uri, name).tags.get(key), name, key) | {"shards": shards, "metric": metric}
        pairs: list[list[int]] = looks["pairs"]
        if [candidate, champion] in pairs:
            return int(looks["count"]) - len(pairs) + pairs.index([candidate, champion]) + 1
        looks |= {"count": looks["count"] + 1, "pairs": [*pairs, [candidate, champion]][-_REMEMBERED:]}
        client(uri).set_registered_model_tag(name, key, json.dumps(looks))
        return int(looks["count"])


def _read(text: str | None, name: str, key: str) -> dict[str, Any]:
    if text is None:
        return {"count": 0, "pairs": []}
    try:
        found = json.loads(text)
        if found["count"] >= len(found["pairs"]) >= 1:
            return {"count": int(found["count"]), "pairs": [[int(a), int(b)] for a, b in found["pairs"]]}
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"model {name!r}: its tag {key} is not a list of comparisons: {text[:80]!r}; delete the tag to start counting "
        "again"
    )
