"""Fixtures for all tests: one local Ray cluster, one MLflow server and one small herbarium."""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before anything imports ray
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HERBRAY_OFFLINE", "1")  # weights that are missing are told, not downloaded
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("RAY_ADDRESS", None)

import contextlib
import shutil
import sys
import warnings
from pathlib import Path

import pytest

from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.synthetic import Synthetic
from herbray.data.splitting.splits import Splits


def pytest_collection_modifyitems(items):
    """Marks the tests that `make test-fast` leaves out, by the fixtures that they take."""
    for item in items:
        if "cluster" in item.fixturenames:
            item.add_marker("cluster")
        elif {"mlflow_server", "uri"} & set(item.fixturenames):  # making a store takes seconds
            item.add_marker("slow")


@pytest.fixture(scope="session")
def cluster():
    """A real local cluster, started once."""
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of Ray's start, not of herbray
            import ray

            from herbray.flow.cluster import connection

            stack.enter_context(connection.connect(dashboard=True, cpus=4))
        folder = ray._private.worker._global_node.temp_dir
        yield ray
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real MLflow server; tests must repair what they break."""
    sys.path.insert(0, str(Path(__file__).parent))
    from mlflow_server import Server

    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A real S3 server with the bucket `sheets`."""
    sys.path.insert(0, str(Path(__file__).parent))
    from s3_server import Server, is_available

    if not is_available():
        pytest.skip("the S3 server needs moto: uv pip install moto flask flask-cors")
    server = Server(tmp_path_factory.mktemp("s3"))
    server.start()
    server.make_bucket("sheets")
    yield server
    server.kill()


@pytest.fixture
def bucket(s3_server, tmp_path, monkeypatch):
    """The server, reached from this process, with an empty cache on this disk; every test has its own prefix."""
    from herbray.storage import cache, store

    for name, value in (s3_server.environment | {"HERBRAY_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    store.filesystem.cache_clear()
    cache._verified.clear()
    yield s3_server
    store.filesystem.cache_clear()


@pytest.fixture(scope="session")
def herbarium(tmp_path_factory):
    """A catalogue folder of a few hundred synthetic sheets, real JPEG files in the folder layout."""
    root = tmp_path_factory.mktemp("herbarium")
    source = Synthetic(path=root / "sheets", sheets=400, size=48, genera=8, species=24)
    catalogue.build(Catalogue(source=source, out=root / "catalogue"))
    return root / "catalogue"


SPLITS = Splits(species=0.1, random=0.2, validation=0.25)


@pytest.fixture(scope="session")
def shards(tmp_path_factory, cluster, herbarium):
    """Shards of the small herbarium."""
    from herbray.flow.shards.build import Shard, shard

    out: Path = tmp_path_factory.mktemp("shards") / "shards"
    shard(Shard(catalogue=herbarium, out=out, splits=SPLITS, side=40, bag=8, file_rows=64))
    return out


@pytest.fixture(scope="session")
def lightning_checkpoint(tmp_path_factory):
    """A checkpoint of Lightning's own trainer after one step, and the ResNet-18 in it."""
    lightning = pytest.importorskip("pytorch_lightning")
    import torch
    import torchvision

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.backbone = torchvision.models.resnet18(weights=None)
            self.head = torch.nn.Linear(1000, 2)

        def training_step(self, batch, _):
            return self.head(self.backbone(batch[0])).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module, folder = Module(), tmp_path_factory.mktemp("lightning")
    rows = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(4, 3, 32, 32)), 2)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(max_steps=1, default_root_dir=folder, **options)
        trainer.fit(module, rows)
    trainer.save_checkpoint(folder / "run.ckpt")
    return folder / "run.ckpt", module.backbone
