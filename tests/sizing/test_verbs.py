import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.sizing.verbs import plan_verbs

from .conftest import make_case


def plan(changes=None, **rates):
    return {demand.verb: demand for demand in plan_verbs(make_case(changes, **rates))}


def test_a_catalogue_takes_one_core():
    found = plan()["catalogue"]
    assert found.images == 100_000
    assert found.traffic.written == 100_000 * 100
    assert found.seconds["CPU"] == 1.0
    assert found.seconds["network"] == 0.01
    assert found.binds == "CPU"


def test_shards_take_every_core_and_the_driver_splits_first():
    found = plan()["shard"]
    assert (found.images, found.steps) == (100_000, 32 + 8 + 10)  # files
    assert found.traffic.read == 100_000 * 100_000
    assert found.traffic.written == 100_000 * (20_000 + 100)
    assert found.seconds["decode"] == pytest.approx(98_000 / 100 / 16 + 2000 / 100)  # 100 sheets a second and core
    assert found.alone == pytest.approx(0.2)
    assert found.seconds["network"] == 10.0


def test_training_on_a_gpu_is_limited_by_the_loader():
    found = plan()["train"]
    bags = 64_000 // 32 + 49  # half a bag for each of 100 genera
    windows = math.ceil(bags / 50)
    assert found.steps == 10 * windows * math.ceil(
        (32_000 + 25) / 32 / windows
    )  # 25: half of the pairs of 100 last bags
    assert found.images == found.steps * 64
    checked = 10 * 4096
    assert found.seconds["GPU"] == pytest.approx(found.images / 10_000 + checked / 20_000)
    assert found.seconds["decode"] == pytest.approx(found.images / 5000 + checked / 8000)
    assert found.binds == "decode"
    assert found.traffic.read == 64_000 * 20_100
    checkpoints = 10 + math.floor(found.seconds["decode"] / 150)
    assert found.traffic.written == 12e6 * checkpoints
    assert found.seconds["checkpoint"] == pytest.approx(12e6 * checkpoints / 1e9)
    assert found.device == 16e6 + 64 * 2e6 / 2


def test_a_loader_that_keeps_up_is_limited_by_cores_alone():
    found = plan({"cluster": {"cpus": 8}}, fed_step={"per_s": 9900}, fed_forward={"per_s": 19_900})["train"]
    assert found.binds == "decode"
    assert found.seconds["decode"] == pytest.approx((found.images + 40_960) / (8 * 1000))
    with_more = plan({"cluster": {"cpus": 64}}, fed_step={"per_s": 9900}, fed_forward={"per_s": 19_900})["train"]
    assert with_more.binds == "GPU"


def test_training_without_a_gpu_takes_the_cores_of_the_measured_machine():
    found = plan({"cluster": {"gpus": 0, "cpus": 4}})["train"]
    assert found.seconds["CPU"] == pytest.approx(found.images / 200 + 40_960 / 400)  # 50 and 100 a second and core
    assert (found.binds, found.device) == ("CPU", 0)


def test_embedding_and_evaluation_by_hand():
    found = plan()
    embed, evaluate = found["embed"], found["evaluate"]
    assert (embed.images, embed.steps) == (20_000, 10)
    assert embed.traffic.written == 20_000 * (400 + 100)
    assert embed.seconds["GPU"] == 1.0
    assert embed.seconds["decode"] == 2.5
    costs = [20_000 * 100 * classes * 5 / 1e9 for classes in (100, 10, 5)]
    assert evaluate.seconds["CPU"] == pytest.approx(max(costs) + (sum(costs) - max(costs)) / 16)
    assert evaluate.steps == 15
    one_core = plan({"cluster": {"cpus": 1}})["evaluate"]
    assert one_core.seconds["CPU"] == pytest.approx(sum(costs))


SCARCE = {
    "network": ({"cluster": {"network_mb_s": 1}}, {}),
    "decode": ({"cluster": {"cpus": 1}}, {"fed_step": {"per_s": 9900}}),
    "GPU": ({"cluster": {"cpus": 64}}, {"fed_step": {"per_s": 9900}, "fed_forward": {"per_s": 19_900}}),
    "CPU": ({"cluster": {"gpus": 0}}, {}),
    "disk": ({"cluster": {"network_mb_s": None, "disk_mb_s": 1}}, {}),
    "checkpoint": ({"cluster": {"network_mb_s": 20, "cpus": 64}, "train": {"checkpoints": {"seconds": 1}}}, {}),
}


@pytest.mark.parametrize("scarce", SCARCE)
def test_what_is_scarce_binds(scarce):
    changes, rates = SCARCE[scarce]
    assert plan(changes, **rates)["train"].binds == scarce


def test_gradients_between_nodes_bind_on_a_slow_network():
    one, many = (plan({"cluster": {"nodes": nodes, "network_mb_s": 100}})["train"] for nodes in (1, 16))
    assert one.binds == "decode"
    assert many.binds == "network"
    ring = many.steps * 2 * 15 / 16 * 4e6 / 100e6
    assert many.seconds["network"] == pytest.approx(ring + 10 * 64_000 * 20_100 / (16 * 100e6))


def test_a_missing_gpu_rate_is_named_and_not_guessed():
    found = plan({"train": {"encoder": {"size": 288}}, "shard": {"side": 288}})
    for verb in ("train", "embed"):
        assert found[verb].total_s is None
        assert any("on a node with NVIDIA H200" in command for command in found[verb].missing)
    assert "herbray benchmark step arch=resnet18 size=288" in found["train"].missing[0]
    assert found["shard"].total_s is not None  # 288 px are near enough to 256 for a sheet
    other = plan({"cluster": {"gpu": "NVIDIA A100-SXM4-80GB"}})
    assert other["train"].total_s is None
    assert plan({"collection": {"sheet_px": [4000, 6000]}})["shard"].missing


@given(st.integers(1, 8), st.integers(0, 4), st.integers(1, 64), st.integers(1, 100))
@settings(max_examples=25, deadline=None)
def test_more_of_everything_never_takes_longer(nodes, gpus, cpus, network):
    few = {"nodes": nodes, "gpus": gpus, "cpus": cpus, "network_mb_s": 1e5 * network}
    more = {"gpus": gpus + bool(gpus), "cpus": cpus + 3, "network_mb_s": 2e5 * network}
    fewer, larger = plan({"cluster": few}), plan({"cluster": few | more})
    for verb in ("catalogue", "shard", "train", "evaluate"):
        assert larger[verb].total_s <= fewer[verb].total_s * 1.0001, verb


@given(st.integers(100, 60_000), st.integers(1, 100_000))
@settings(max_examples=25, deadline=None)
def test_more_sheets_never_take_less(train, more):
    def collection(train):
        return {"collection": {"sheets": 10**6, "splits": {"train": train, "validation": 100, "random": train}}}

    few, many = plan(collection(train)), plan(collection(train + more))
    for verb, demand in few.items():
        assert demand.total_s <= many[verb].total_s * 1.0001
        assert demand.traffic.read <= many[verb].traffic.read
        assert demand.memory <= many[verb].memory
