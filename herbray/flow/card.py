"""The model card: a page for people that travels with a registered encoder."""

from collections.abc import Mapping

from herbray import config
from herbray.flow.material import Material, Train


def model_card(spec: Train, data: Material, scores: Mapping[str, float]) -> str:
    """A page for people: what it is, what it learned from, how good, how to load."""
    rows = data.manifest["splits"]
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(scores.items()))
    model = spec.register_as or f"herbray-{spec.objective.name}"
    return f"""# {model}

ResNet-18 encoder of herbarium sheets, 512 numbers an image, trained as **{spec.objective.name}** from
**{spec.encoder.init}** start weights on {rows.get("train", 0):,} specimens of {len(data.classes):,} genera,
seed {spec.seed}, input {spec.encoder.size} px.

Data: {data.manifest["citation"] or "no citation was given"} (shards {data.manifest["fingerprint"]}).

| figure | value |
|---|---|
{figures}

Load it with `herbray.load_encoder("models:/{model}@candidate")`, which reads weights and JSON and runs no code, or with
`mlflow.pyfunc.load_model`, which runs the code that is stored beside them.

```yaml
{config.dump(spec)}```
"""
