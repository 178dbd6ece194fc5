"""The folders of a study's trainings, and a check that no two trainings are the same."""

import re
from collections.abc import Mapping, Sequence

from herbray.data.fingerprint import fingerprint_json
from herbray.flow.shards.build import Shard
from herbray.flow.training.runs.identity import encoder_settings
from herbray.flow.training.specification import Train


def check_distinct(
    trainings: Sequence[Train], shard: Shard, other_shards: Mapping[str, Shard], shared: Sequence[str]
) -> None:
    """Refuse trainings that differ only in their labels.

    Args:
        trainings: the trainings, in the order of the settings.
        shard: the shards that trainings read.
        other_shards: label of a training: the other shards that it reads.
        shared: "seed" and "init", if the study sets them for all trainings.

    Raises:
        ValueError: two trainings would make the same encoder.
    """
    first: dict[str, int] = {}
    for place, each in enumerate(trainings):
        settings = encoder_settings(each) | {"seed": None if "seed" in shared else each.seed}
        if "init" in shared:
            settings["encoder"] = settings["encoder"] | {"init": None}
        shards = other_shards.get(each.result_name, shard)
        earlier = first.setdefault(fingerprint_json(settings, shards.model_dump(mode="json")), place)
        if earlier != place:
            raise ValueError(
                f"train.{place} ({each.result_name}) is the same training as train.{earlier} "
                f"({trainings[earlier].result_name}): change a setting of one, or remove one"
            )


def name_run_folders(trainings: Sequence[Train], inits: bool, seeds: bool) -> list[str]:
    """A folder name for each training. If several names are equal, all but the first get a fingerprint of the settings.

    Args:
        trainings: the trainings of the grid.
        inits: whether the start weights are part of the name.
        seeds: whether the seed is part of the name.
    """
    names: list[str] = []
    for each in trainings:
        parts = [folder_name(each.result_name)]
        parts += [_replace_special(each.encoder.init)] if inits else []
        parts += [f"seed{each.seed}"] if seeds else []
        if "-".join(parts) in names:
            parts.append(fingerprint_json(encoder_settings(each), each.seed)[:6])
        names.append("-".join(parts))
    return names


def folder_name(label: str) -> str:
    """A folder name for a label. Labels that differ only in special characters get different names."""
    plain = _replace_special(label)
    return plain if plain == label else f"{plain}-{fingerprint_json(label)[:6]}"


def _replace_special(text: str) -> str:
    """Replace all characters that are unsafe in a folder name."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)
