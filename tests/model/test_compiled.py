import pytest
import torch

from herbray.model.compiled import worthwhile

CPU = torch.device("cpu")


def test_never_on_a_cpu():
    assert not worthwhile("auto", CPU, 10**9)
    assert not worthwhile("off", CPU, 10**9)
    with pytest.raises(ValueError, match="compile=auto"):
        worthwhile("on", CPU, 10**9)


def test_a_short_run_does_not_earn_it_back_but_may_ask_for_it():
    assert not worthwhile("auto", torch.device("cuda"), 10)
    assert worthwhile("on", torch.device("cuda"), 10)
