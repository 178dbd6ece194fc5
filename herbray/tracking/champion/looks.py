"""How often an evaluation set has been looked at to choose a champion, remembered with the registered model."""

import json
from typing import Any, Final

from herbray.tracking.champion.lock import promotion_lock
from herbray.tracking.registry import get_record
from herbray.tracking.store import client, digest

LOOKS_TAG: Final = "herbray.looks"
"""Beginning of a registered model's tags that count looks: `herbray.looks.<digest of shards and metric>`, in JSON."""

_REMEMBERED: Final = 200  # pairs; MLflow bounds a tag's value to 5,000 characters


def record_look(uri: str, name: str, shards: str, metric: str, candidate: int, champion: int) -> int:
    """The number of a comparison on an evaluation set, from 1; a comparison that was made before keeps its number.

    An evaluation set is what one registered model is asked on one set of shards by one metric. The number is written
    down before the comparison decides anything, so that a job that is killed has spent its look.

    Args:
        uri: the store.
        name: the registered model.
        shards: fingerprint of the images.
        metric: task/split/level/metric.
        candidate: version that is compared.
        champion: version that it is compared with.

    Raises:
        ModelNotFound: no such model.
        PromotionHeld: the lock did not become free.
        ValueError: the tag does not hold what this function writes.
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
        f"model {name!r}: its tag {key} does not tell which comparisons were made: {text[:80]!r}; delete the tag to "
        "count from the beginning"
    )
