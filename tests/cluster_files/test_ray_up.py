"""The files for `ray up`, by Ray's own preparation and validation."""

import re

import pytest
import yaml
from jsonschema import ValidationError
from manifests import CLUSTER

FILES = sorted((CLUSTER / "ray-up").glob("*.yaml"))


def prepare(file):
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_ray_accepts_the_file(file):
    from ray.autoscaler._private.util import validate_config

    validate_config(prepare(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_worker": 3}, "max_worker"),
        ({"max_workers": "many"}, "many"),
        ({"head_node_type": "hed"}, "head_node_type"),
    ],
)
def test_ray_refuses_a_wrong_setting(file, wrong, message):
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises((ValidationError, ValueError, KeyError, AssertionError), match=message):
        validate_config(prepare_config(yaml.safe_load(file.read_text()) | wrong))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_pools_are_those_of_the_manifests(file):
    kinds = prepare(file)["available_node_types"]
    assert kinds.keys() == {"head", "cpu", "gpu"}
    assert kinds["head"]["resources"]["CPU"] == 0
    assert kinds["cpu"]["resources"]["driver"] == 8
    assert (kinds["gpu"]["min_workers"], kinds["gpu"]["resources"]["GPU"]) == (0, 1)
    assert re.search("spot|preemptible': True", str(kinds["gpu"]["node_config"]))
    assert not re.search("spot|preemptible", str(kinds["cpu"]["node_config"]))  # drivers run there


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_cluster_asks_for_the_token_and_publishes_no_dashboard(file):
    ready = prepare(file)
    assert "--env RAY_AUTH_MODE=token" in ready["docker"]["run_options"]
    token = next(option for option in ready["docker"]["run_options"] if "RAY_AUTH_TOKEN_PATH" in option)
    assert token.partition("PATH=")[2] in ready["file_mounts"]
    assert "--dashboard-host=127.0.0.1" in ready["head_start_ray_commands"][1]
    assert not any("PASSWORD=" in option for option in ready["docker"]["run_options"])


def test_both_files_differ_only_in_what_the_provider_dictates():
    ours = [yaml.safe_load(file.read_text()) for file in FILES]
    for key in ("docker", "file_mounts", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        assert ours[0][key] == ours[1][key]
