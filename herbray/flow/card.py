"""The model card: a page for people that travels with a registered encoder."""

import html
from collections.abc import Mapping
from typing import Final

import yaml

from herbray.flow.material import Material, Train
from herbray.redact import redacted

_PLACES: Final = {"shards", "out", "store"}  # of this machine: of no use to others, and none of their business


def model_card(spec: Train, data: Material, scores: Mapping[str, float]) -> str:
    """A page for people: what it is, what it learned from, how good, how to load.

    It is shown as Markdown by strangers' programs: what came with the data stays text in it.
    """
    rows = data.manifest["splits"]
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(scores.items()))
    model = spec.register_as or f"herbray-{spec.objective.name}"
    citation = html.escape(" ".join((data.manifest["citation"] or "no citation was given").split()), quote=False)
    settings = yaml.safe_dump(spec.model_dump(mode="json", exclude=_PLACES), sort_keys=False, allow_unicode=True)
    return redacted(f"""# {model}

ResNet-18 encoder of herbarium sheets, 512 numbers an image, trained as **{spec.objective.name}** from
**{spec.encoder.init}** start weights on {rows.get("train", 0):,} specimens of {len(data.classes):,} genera,
seed {spec.seed}, input {spec.encoder.size} px.

Data: {citation} (shards {data.manifest["fingerprint"]}).

| figure | value |
|---|---|
{figures}

Load it with `herbray.load_encoder("models:/{model}@candidate")`, which reads weights and JSON and runs no code, or with
`mlflow.pyfunc.load_model`, which runs the code that is stored beside them.

````yaml
{settings}````
""")
