import pytest
import torch

from herbray.model.speed.compilation import should_compile

CPU = torch.device("cpu")


def test_never_on_a_cpu():
    assert not should_compile("auto", CPU, 10**9)
    assert not should_compile("off", CPU, 10**9)
    with pytest.raises(ValueError, match="compile=auto"):
        should_compile("on", CPU, 10**9)


def test_auto_does_not_compile_short_runs_and_on_does():
    assert not should_compile("auto", torch.device("cuda"), 10)
    assert should_compile("on", torch.device("cuda"), 10)
