import platform
import subprocess
import sys

import pytest

_COUNT_FAULTS = """
import resource, sys, torch
from herbray.model.speed.allocator import reuse_memory
if sys.argv[1] == "reuse":
    assert reuse_memory()
def use():
    torch.ones(2**23).add(1)  # two blocks of 32 MB
for _ in range(20):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_memory_is_used_again_without_page_faults():
    faults = [
        int(subprocess.run([sys.executable, "-c", _COUNT_FAULTS, mode], check=True, capture_output=True).stdout)
        for mode in ("plain", "reuse")
    ]
    assert faults[0] > 10_000  # each of the 20 blocks has 8,192 pages
    assert faults[1] < 1_000
