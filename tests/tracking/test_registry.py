from pathlib import Path

import pytest

from herbray.model.encoder_card import EncoderRefused
from herbray.tracking import ModelNotFound, open_run, register, resolve, set_alias, training_run
from herbray.tracking.store import client


@pytest.fixture(scope="module")
def run(uri):
    return open_run(uri, "registry", "train", {})


@pytest.fixture
def name(request):
    return request.node.name.replace("[", "-").rstrip("]")[:80]


def tags_of(uri, name, version):
    return client(uri).get_model_version(name, str(version)).tags


def test_the_same_files_of_the_same_run_are_registered_once(run, encoders, name):
    first = register(run, name, encoders[0], "# A card", tags={"purpose": "test"})
    assert register(run, name, encoders[0], "# A card") == first == 1
    assert register(run, name, encoders[1], "# A card") == 2
    other = open_run(run.uri, "registry", "another run", {})
    assert register(other, name, encoders[0], "# A card") == 3
    assert tags_of(run.uri, name, 1)["purpose"] == "test"


def test_candidate_is_the_latest_and_never_goes_back(run, encoders, name):
    register(run, name, encoders[0], "")
    assert resolve(run.uri, f"models:/{name}@candidate") == (name, 1)
    register(run, name, encoders[1], "")
    register(run, name, encoders[0], "")  # an old job that is started again
    assert resolve(run.uri, f"models:/{name}@candidate") == (name, 2)


def test_the_card_is_the_description_and_the_readme(run, encoders, name, tmp_path):
    card = "# Card\n" + "long " * 2_000
    register(run, name, encoders[0], card)
    version = client(run.uri).get_model_version(name, "1")
    assert version.description.startswith("# Card\nlong")
    assert "README.md" in version.description
    assert version.run_id == run.run_id


def test_nothing_of_this_machine_is_in_the_package(run, encoders, name):
    from mlflow.artifacts import download_artifacts

    register(run, name, encoders[0], "# Card")
    source = client(run.uri).get_model_version_download_uri(name, "1")
    package = download_artifacts(artifact_uri=source)
    texts = {
        path.name: path.read_text()
        for path in Path(package).rglob("*")
        if path.suffix != ".safetensors" and path.is_file()
    }
    assert {"MLmodel", "README.md", "requirements.txt", "served.py", "squares.py", "encoder.json"} <= texts.keys()
    assert texts["README.md"] == "# Card"
    for file, text in texts.items():
        assert str(encoders[0]) not in text, file
        assert "herbray/tracking" not in text, file
    requirements = texts["requirements.txt"].split()
    assert all("==" in line and "/" not in line and "+" not in line for line in requirements)
    assert {line.partition("==")[0] for line in requirements} >= {
        "mlflow",
        "torch",
        "torchvision",
        "safetensors",
        "psutil",
    }


@pytest.mark.parametrize("wrong", ["", "a/b", "a:b", "a@b", "-a", "it's", "x" * 101])
def test_names_that_a_uri_cannot_carry_are_refused(run, encoders, wrong):
    with pytest.raises(ValueError, match="model name"):
        register(run, wrong, encoders[0], "")


def test_a_folder_without_an_encoder_is_refused(run, name, tmp_path):
    with pytest.raises(ValueError, match=r"lacks encoder\.safetensors and encoder\.json"):
        register(run, name, tmp_path, "")


def test_what_cannot_be_loaded_is_not_registered(run, encoders, name, tmp_path):
    (tmp_path / "encoder.safetensors").write_bytes(b"cut short")
    (tmp_path / "encoder.json").write_bytes((encoders[0] / "encoder.json").read_bytes())
    with pytest.raises(EncoderRefused):
        register(run, name, tmp_path, "")
    with pytest.raises(ModelNotFound):
        resolve(run.uri, f"models:/{name}/1")


def test_an_evaluation_finds_the_run_of_the_training(run, encoders, name):
    register(run, name, encoders[0], "")
    assert training_run(run.uri, name, 1) == run
    with pytest.raises(ModelNotFound, match="no version 7"):
        training_run(run.uri, name, 7)


def test_a_version_without_a_run_is_an_error(run, name, tmp_path):
    client(run.uri).create_registered_model(name)
    client(run.uri).create_model_version(name, tmp_path.as_uri())
    with pytest.raises(ValueError, match="has no run"):
        training_run(run.uri, name, 1)


def test_latest_is_the_highest_number(run, encoders, name):
    for encoder in encoders:
        register(run, name, encoder, "")
    assert resolve(run.uri, f"models:/{name}/latest") == (name, 2)


def test_errors_for_missing_names_list_the_existing_ones(run, encoders, name):
    register(run, name, encoders[0], "")
    with pytest.raises(ModelNotFound, match=r"no model 'nobody' in this registry; its models: .*test_"):
        resolve(run.uri, "models:/nobody@champion")
    with pytest.raises(
        ModelNotFound, match=r"no alias 'champion'; its aliases: candidate \(version 1\); `herbray promote"
    ):
        resolve(run.uri, f"models:/{name}@champion")
    with pytest.raises(ModelNotFound, match="no version 7; its versions: 1"):
        resolve(run.uri, f"models:/{name}/7")
    with pytest.raises(ModelNotFound, match="no version 7"):
        set_alias(run.uri, name, "champion", 7)


@pytest.mark.parametrize(
    "wrong", ["models:/a", "models:/a/b/c", "models:/a@b/3", "models:/a/-1", "models:a@b", "runs:/a/b"]
)
def test_other_addresses_are_refused(run, wrong):
    with pytest.raises(ValueError, match="use models:/name@alias"):
        resolve(run.uri, wrong)


def test_no_registry_is_made_by_looking_for_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI"):
        resolve(None, "models:/a@b")
    with pytest.raises(ValueError, match="no such MLflow store"):
        resolve(f"sqlite:///{tmp_path}/typo/mlflow.db", "models:/a@b")
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_registry(run, encoders, name, monkeypatch):
    register(run, name, encoders[0], "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", run.uri)
    assert resolve(None, f"models:/{name}@candidate") == (name, 1)
