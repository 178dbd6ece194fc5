"""Where a study's trainings lie, and that no two of them are the same."""

import re
from collections.abc import Mapping, Sequence

from herbray.data.fingerprint import fingerprint_json
from herbray.flow.shards.build import Shard
from herbray.flow.training.runs.identity import encoder_settings
from herbray.flow.training.specification import Train


def refuse_repeated(
    trainings: Sequence[Train], shard: Shard, other_shards: Mapping[str, Shard], given: Sequence[str]
) -> None:
    """Refuse trainings that differ in nothing but their names.

    Args:
        trainings: in the order of the settings.
        shard: that they learn from.
        other_shards: that those of these labels learn from.
        given: of "seed" and "init", what the study sets for all trainings alike.

    Raises:
        ValueError: two of them would make the same encoder.
    """
    first: dict[str, int] = {}
    for place, each in enumerate(trainings):
        settings = encoder_settings(each) | {"seed": None if "seed" in given else each.seed}
        if "init" in given:
            settings["encoder"] = settings["encoder"] | {"init": None}
        shards = other_shards.get(each.result_name, shard)
        there = first.setdefault(fingerprint_json(settings, shards.model_dump(mode="json")), place)
        if there != place:
            raise ValueError(
                f"train.{place} ({each.result_name}) is the same training as train.{there} "
                f"({trainings[there].result_name}): "
                "change a setting of one, or leave it out"
            )


def run_folders(trainings: Sequence[Train], inits: bool, seeds: bool) -> list[str]:
    """A folder's name for each training; of several with the same name all but the first bear what they are made of.

    Args:
        trainings: the cells of the grid.
        inits: whether start weights are a part of the name.
        seeds: whether the seed is.
    """
    names: list[str] = []
    for each in trainings:
        parts = [folder(each.result_name)]
        parts += [_plain(each.encoder.init)] if inits else []
        parts += [f"seed{each.seed}"] if seeds else []
        if "-".join(parts) in names:
            parts.append(fingerprint_json(encoder_settings(each), each.seed)[:6])
        names.append("-".join(parts))
    return names


def folder(label: str) -> str:
    """A folder's name for a label; two labels that differ in odd signs only have two."""
    plain = _plain(label)
    return plain if plain == label else f"{plain}-{fingerprint_json(label)[:6]}"


def _plain(text: str) -> str:
    """As part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)
