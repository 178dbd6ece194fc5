import pytest

from herbray.benchmark.contests.network_size import NetworkSize
from herbray.config import parse
from herbray.sizing.case import Case
from herbray.sizing.counts import count_collection
from herbray.sizing.rates import Rate, RateFinder
from herbray.sizing.specification import Plan

ABOUT = {"machine": "a processor", "when": "2026-11-30", "source": "a test"}
NETWORK = NetworkSize(parameters=1_000_000, dim=100, activation_bytes=2e6)
GPU = {"device": "NVIDIA H200", "arch": "resnet18", "px": 256}
CPU = {"device": "cpu", "arch": "resnet18", "px": 256, "cores": 2}

RATES = {
    "catalogue": {"per_s": 1e5},
    "split": {"per_s": 5e5},
    "shard": {"per_s": 200, "cores": 2, "px": 256, "sheet_px": 700_000, "bytes": 20_000},
    "decode": {"per_s": 1000, "px": 256, "aspect": 1000 / 700},
    "step": {"per_s": 10_000, "objective": "triplet", **GPU},
    "fed step": {"per_s": 5000, "objective": "triplet", **GPU},
    "forward": {"per_s": 20_000, **GPU},
    "fed forward": {"per_s": 8000, **GPU},
    "probe": {"per_s": 1e9},
}


def rates(**changed):
    tree = {name: facts | changed.get(name.replace(" ", "_"), {}) for name, facts in RATES.items()}
    own = [Rate(work=name, **facts, **ABOUT) for name, facts in tree.items() if facts.get("per_s")]
    on_cpu = [("step", 110), ("fed step", 100), ("forward", 400), ("fed forward", 200)]
    return own + [
        Rate(work=name, per_s=per_s, objective="triplet" if "step" in name else "", **CPU, **ABOUT)
        for name, per_s in on_cpu
    ]


SETTINGS = {
    "collection": {
        "sheets": 100_000,
        "genera": 100,
        "families": 10,
        "orders": 5,
        "sheet_kb": 100,
        "row_bytes": 100,
        "splits": {"train": 64_000, "validation": 16_000, "random": 20_000},
    },
    "cluster": {"nodes": 1, "gpus": 1, "cpus": 16, "network_mb_s": 1000},
    "shard": {"side": 256, "bag": 32, "file_rows": 2000},
    "train": {
        "encoder": {"size": 256},
        "stream": {"batch": 64, "window": 50, "align": 1},
        "epochs": 10,
        "checkpoints": {"seconds": 300},
    },
}


def merge(below, above):
    tree = dict(below)
    for key, value in above.items():
        tree[key] = merge(tree[key], value) if isinstance(value, dict) and isinstance(tree.get(key), dict) else value
    return tree


def make_case(changes=None, network=NETWORK, **changed_rates):
    spec = parse(Plan, merge(SETTINGS, changes or {}))
    counts = count_collection(spec.collection, spec.shard)
    return Case(spec, counts, network, RateFinder(rates(**changed_rates)))


@pytest.fixture
def case():
    return make_case
