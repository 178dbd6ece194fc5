import json
import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest

import herbray
from herbray.model import portable
from herbray.model.encoder_card import read_encoder
from herbray.tracking import ModelNotFound, open_run, pull, register
from herbray.tracking import pull as pull_function
from herbray.tracking.package import ENCODER_CARD, ENCODER_FILES, WEIGHTS
from herbray.tracking.store import client

OUTSIDER = """
import base64, importlib, json, sys
sys.path.append(sys.argv[1])  # site-packages without its .pth files: an editable herbray is not found
sys.modules["herbray"] = None  # nor an installed one
try:
    importlib.import_module("herbray.model")
except ImportError:
    pass
else:
    sys.exit("herbray can be imported: this test proves nothing")
import mlflow.pyfunc, numpy, pandas
jpegs = [open(path, "rb").read() for path in sys.argv[3:]]
model = mlflow.pyfunc.load_model(sys.argv[2])
frame = model.predict(pandas.DataFrame({"specimen_id": list(range(len(jpegs))), "jpeg": jpegs}))
texts = [base64.b64encode(jpeg).decode() for jpeg in jpegs]
rows = model.predict([{"jpeg": text} for text in texts])
from mlflow.pyfunc.scoring_server import invocations
body = json.dumps({"dataframe_split": {"columns": ["jpeg"], "data": [[text] for text in texts]}})
answer = invocations(body, "application/json", model, model.metadata.get_input_schema())
assert answer.status == 200, answer.response
served = json.loads(answer.response)["predictions"]
assert frame.dtype == numpy.float32
assert not any(name.split(".")[0] == "herbray" and module for name, module in sys.modules.items())
numpy.savez("answer.npz", frame=frame, rows=rows, served=numpy.asarray(served, numpy.float32))
"""


@pytest.fixture(scope="module")
def run(uri):
    return open_run(uri, "pull", "train", {})


@pytest.fixture(scope="module")
def model(run, encoders):
    register(run, "pulled", encoders[0], "# A card", alias="champion")
    return "models:/pulled@champion"


@pytest.fixture
def own(run, encoders, request):
    """A model of the test's own, with the folder in which the store keeps it, to be spoilt."""
    name = request.node.name
    version = register(run, name, encoders[0], "")
    location = client(run.uri).get_model_version_download_uri(name, str(version))
    return f"models:/{name}/{version}", Path(unquote(urlparse(location).path))


def test_exactly_two_files_are_fetched(uri, model, encoders, tmp_path):
    folder = pull(model, uri, tmp_path)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == sorted(
        [Path(folder.name), *(Path(folder.name) / file for file in ENCODER_FILES)]
    )
    for file in ENCODER_FILES:
        assert (folder / file).read_bytes() == (encoders[0] / file).read_bytes()


def test_the_encoder_comes_back_as_it_was(uri, model, encoders, jpegs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    encoder = herbray.load_encoder(model)
    np.testing.assert_array_equal(encoder.embed(jpegs), read_encoder(encoders[0])[0].embed(jpegs))
    assert (tmp_path / "herbray" / "models").is_dir()


def test_a_pulled_encoder_is_used_again_until_it_is_damaged(uri, model, encoders, tmp_path):
    folder = pull(model, uri, tmp_path)
    before = (folder / WEIGHTS).stat().st_ino
    assert pull("models:/pulled/1", uri, tmp_path) == folder
    assert (folder / WEIGHTS).stat().st_ino == before
    (folder / WEIGHTS).write_bytes(b"cut short")
    assert pull(model, uri, tmp_path) == folder
    assert (folder / WEIGHTS).read_bytes() == (encoders[0] / WEIGHTS).read_bytes()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_local_folder_needs_no_registry(encoders, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert pull(str(encoders[0])) == encoders[0]


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    (tmp_path / ENCODER_CARD).write_text("{}")
    with pytest.raises(ValueError, match="no encoder; use models:/name@alias"):
        pull(str(tmp_path))


def test_an_unknown_model_is_refused(uri, model, tmp_path):
    with pytest.raises(ModelNotFound, match=r"its models: .*pulled"):
        pull("models:/unknown@champion", uri, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_changed_after_registration_are_refused(uri, own, encoders, tmp_path):
    address, stored = own
    shutil.copy(encoders[1] / WEIGHTS, stored / "artifacts" / WEIGHTS)
    with pytest.raises(ValueError, match="do not have the registered digest"):
        pull(address, uri, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_over_the_limit_are_refused(uri, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules[pull_function.__module__].LIMITS, WEIGHTS, 1_000)
    with pytest.raises(ValueError, match=r"limit 1,000; not downloaded"):
        pull(model, uri, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_herbray_did_not_register_is_refused(uri, run, tmp_path):
    (tmp_path / "source").mkdir()
    client(uri).create_registered_model("stranger")
    client(uri).create_model_version("stranger", (tmp_path / "source").as_uri(), run.run_id)
    with pytest.raises(ModelNotFound, match="was not registered by herbray"):
        pull("models:/stranger/1", uri, tmp_path / "cache")


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_no_code_of_the_registry_runs(uri, own, jpegs, encoders, tmp_path, monkeypatch):
    address, stored = own
    marker = tmp_path / "the code ran"
    code = f"import os\nos.makedirs({str(marker)!r}, exist_ok=True)\n" + "from mlflow.models import set_model\n"
    for path in (
        "served.py",
        "artifacts/portable/__init__.py",
        "artifacts/encoder.py",
        "sitecustomize.py",
        "artifacts/__init__.py",
    ):
        (stored / path).write_text(code)
    for path in ("python_model.pkl", "artifacts/encoder.pkl", "artifacts/encoder.pt"):
        (stored / path).write_bytes(pickle.dumps(Trap(marker)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    encoder = herbray.load_encoder(address, uri)
    np.testing.assert_array_equal(encoder.embed(jpegs), read_encoder(encoders[0])[0].embed(jpegs))
    assert not marker.exists()
    exec(compile(code, "trap", "exec"), {})  # the trap is live
    assert marker.exists()


def test_weights_that_are_a_pickle_are_refused(uri, run, encoders, tmp_path):
    """A stranger may leave out the digest: the reader itself has to be strict."""
    source, marker = tmp_path / "source", tmp_path / "the code ran"
    (source / "artifacts").mkdir(parents=True)
    shutil.copy(encoders[0] / ENCODER_CARD, source / "artifacts" / ENCODER_CARD)
    (source / "artifacts" / WEIGHTS).write_bytes(pickle.dumps(Trap(marker)))
    client(uri).create_registered_model("hostile")
    client(uri).create_model_version("hostile", source.as_uri(), run.run_id)
    folder = pull("models:/hostile/1", uri, tmp_path / "cache")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_encoder(folder)
    assert not marker.exists()


@pytest.mark.long
def test_people_without_herbray_get_the_same_numbers(uri, model, encoders, jpegs, tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(len(jpegs))]
    for path, jpeg in zip(paths, jpegs, strict=True):
        path.write_bytes(jpeg)
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", OUTSIDER, sysconfig.get_path("purelib"), model, *map(str, paths)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    expected = read_encoder(encoders[0])[0].embed(jpegs)
    assert expected.std() > 0.01
    with np.load(tmp_path / "answer.npz") as answer:
        for way in ("frame", "rows", "served"):
            np.testing.assert_allclose(answer[way], expected, rtol=0, atol=1e-6, err_msg=way)


def test_file_names_are_those_that_the_reader_wants(encoders):
    assert (WEIGHTS, ENCODER_CARD) == (portable.WEIGHTS_FILE, portable.CARD_FILE)
    assert json.loads((encoders[0] / ENCODER_CARD).read_text())["size"] == 32
