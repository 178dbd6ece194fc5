"""Makes `export_cases.py` and `published.py` importable, and makes one batch."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from export_cases import make_batch  # the path comes first


@pytest.fixture(scope="session")
def batch():
    return make_batch()
