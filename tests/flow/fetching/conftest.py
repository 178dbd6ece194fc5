import sys
from pathlib import Path

import pytest

from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.darwin_core import DarwinCore
from herbray.flow.fetching.job import Fetch, fetch

sys.path.insert(0, str(Path(__file__).parents[2]))
from web_server import WebServer

QUICK = {"seconds": 3, "pause_s": 0.05, "attempts": 2, "failures": 50, "max_mb": 1}


@pytest.fixture
def server():
    """A web server on three addresses, each a host of its own."""
    server = WebServer(("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    yield server
    server.close()


@pytest.fixture
def list_images(tmp_path):
    """Writes a catalogue of images at addresses, one specimen each."""

    def write(addresses):
        rows = [f"urn:x:{number},Rubus,PreservedSpecimen,{each}" for number, each in enumerate(addresses)]
        text = "\n".join(["occurrenceID,genus,basisOfRecord,associatedMedia", *rows])
        (tmp_path / "table.csv").write_text(text)
        catalogue.build(Catalogue(source=DarwinCore(path=tmp_path / "table.csv"), out=tmp_path / "catalogue"))
        return tmp_path / "catalogue"

    return write


@pytest.fixture
def fetch_all(tmp_path, list_images):
    """Fetches addresses in this process, as fast as the server answers."""

    def run(addresses=None, **values):
        folder = list_images(addresses) if addresses is not None else tmp_path / "catalogue"
        settings = {"catalogue": folder, "out": tmp_path / "images", "contact": "curator@herbarium.net", "workers": 0}
        settings |= {"pace": {"rate": 500, "concurrency": 2}, "networks": ["127.0.0.0/8"], "max_quarantined": 1}
        values["limits"] = QUICK | values.get("limits", {})
        return fetch(Fetch.model_validate(settings | values))

    return run
