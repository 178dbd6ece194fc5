"""The model card: a page for people that travels with a registered encoder.

Its sections `Promotion` and `Results` are filled in later, by `herbray.tracking.apply_decision` and
`herbray.flow.evaluation.write_back`.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from herbray import schema, storage, tables
from herbray.console.redact import redact
from herbray.flow.markdown import code_block, escape, markdown_table
from herbray.flow.shards.manifest import describe_remedy
from herbray.flow.training.runs.identity import public_settings
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import TrainingData
from herbray.model.portable import find_architecture

_LICENCES: Final = 8


def model_card(spec: Train, data: TrainingData, scores: Mapping[str, float]) -> str:
    """A page for people: what it is, what it learned from, how to load it, how good it is.

    Other programs render it as Markdown, so text that came with the data is escaped.
    """
    rows = data.manifest["splits"]
    model = spec.model_name
    tree = public_settings(spec)
    init = tree["encoder"]["init"]
    settings = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return redact(f"""# {escape(model)}

Encoder of herbarium sheets ({spec.encoder.arch}), {find_architecture(spec.encoder.arch).dim:,} numbers per image,
trained as **{spec.objective.name}** from **{escape(init)}** start weights
on {rows.get("train", 0):,} specimens of {len(data.classes):,} names (rank: {data.manifest["rank"]}),
seed {spec.seed}, input {spec.encoder.size} px.

## Data

{_data(spec.shards, data)}

## Use

Load it with `herbray.load_encoder("models:/{model}@champion")`, or `@candidate`, or `/VERSION`: it reads weights and
JSON and runs no code. `mlflow.pyfunc.load_model` runs the code that is stored with the model.

## Promotion

Not considered yet.

## Results

Not evaluated yet: `herbray embed` and `herbray evaluate` fill this in, with intervals, leakage and weak families.

## Training

{markdown_table(("figure", "value"), ((name, f"{value:.4g}") for name, value in sorted(scores.items())))}

## Settings

{code_block(settings, "yaml")}
""")


def _data(shards: Path, data: TrainingData) -> str:
    """Citation, splits and licences."""
    manifest = data.manifest
    sizes = ", ".join(f"{name} {rows:,}" for name, rows in manifest["splits"].items())
    licences, fingerprint = _specimens(shards)
    known = [f"{escape(name, 200)} {count:,}" for name, count in licences.most_common(_LICENCES)]
    if len(licences) > _LICENCES:
        known.append(f"{len(licences) - _LICENCES} others {sum(licences.values()) - sum(_top(licences)):,}")
    return "\n".join(
        [
            f"- Citation: {escape(manifest['citation'] or 'no citation was given')}",
            f"- Licences, in specimens trained on: {'; '.join(known) or 'not known'}",
            f"- Splits, in specimens: {sizes}",
            f"- Fingerprints: splits {fingerprint or 'not known'}, shards {manifest['fingerprint']}",
        ]
    )


def _top(licences: Counter[str]) -> list[int]:
    return [count for _, count in licences.most_common(_LICENCES)]


def _specimens(shards: Path) -> tuple[Counter[str], str]:
    """Licences of the training specimens, and the fingerprint of who is in which split.

    The fingerprint is of ids and splits alone: shards of another image size, cut from the same split, share it.
    """
    licences, whole = Counter[str](), hashlib.sha256()
    for name in schema.SPLITS:
        ids: list[str] = []
        for file in storage.glob(shards / f"split={name}", "part-*.parquet"):
            found = tables.read(file, describe_remedy(shards), columns=["specimen_id", "license"])
            ids += found["specimen_id"].to_pylist()
            if name == "train":
                licences.update(licence or "none given" for licence in found["license"].to_pylist())
        for each in [name, *sorted(ids)] if ids else ():
            whole.update(each.encode() + b"\0")
    return licences, whole.hexdigest()[:16] if licences else ""
