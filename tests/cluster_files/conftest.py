"""Makes `manifests.py` importable, and renders each kustomization once."""

import functools
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import manifests


@pytest.fixture(scope="session")
def render():
    if not shutil.which("kubectl"):
        pytest.skip("kubectl renders the manifests: apt-get install kubectl, or a client of version 1.27 or newer")
    return functools.cache(manifests.render)
