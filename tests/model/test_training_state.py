import os
from pathlib import Path

import pytest
import torch
from torch import nn

from herbray.model.training_state import copy_training_state, load_training_state, save_training_state


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap-was-sprung"),))


def run(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    return learner, torch.optim.AdamW(learner.parameters(), lr=0.1)


def step(learner, optimizer, seed):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    loss = (learner(x) - x[:, :1]).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_a_resumed_run_takes_the_very_same_steps(tmp_path):
    straight = run()
    losses = [step(*straight, seed) for seed in range(6)]
    broken = run()
    assert [step(*broken, seed) for seed in range(3)] == losses[:3]
    ranks = torch.tensor([[1 / 3, 2.0**40 + 1], [0.0, -1.0]], dtype=torch.double)
    state = copy_training_state(*broken, {"consumed": 3, "loss": losses[2], "run": "a"}, ranks)
    assert step(*broken, 3) == losses[3]  # what was copied does not move with it
    save_training_state(tmp_path, state)
    resumed = run(seed=99)
    position, found = load_training_state(tmp_path, *resumed)
    assert position == {"consumed": 3, "loss": losses[2], "run": "a"}
    assert torch.equal(found, ranks)
    assert [step(*resumed, seed) for seed in range(3, 6)] == losses[3:]
    assert os.listdir(tmp_path) == ["training.pt"]


def test_training_state_of_another_learner_or_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learner, optimizer = run()
    with pytest.raises(ValueError, match="no such file"):
        load_training_state(tmp_path, learner, optimizer)
    with pytest.raises(ValueError, match="plain numbers"):
        copy_training_state(learner, optimizer, {"step": torch.tensor(3)})
    save_training_state(tmp_path, copy_training_state(learner, optimizer, {}))
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="another learner"):
        load_training_state(tmp_path, other, torch.optim.AdamW(other.parameters()))
    groups = [{"params": [*learner.parameters()][:1]}, {"params": [*learner.parameters()][1:]}]
    with pytest.raises(ValueError, match="another optimizer: the parameter groups"):
        load_training_state(tmp_path, learner, torch.optim.AdamW(groups))
    torch.save({"learner": Trap()}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="can be read safely"):
        load_training_state(tmp_path, learner, optimizer)
    torch.save({"learner": {}}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="not a training state"):
        load_training_state(tmp_path, learner, optimizer)
    assert not Path("trap-was-sprung").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    learner, optimizer = run()
    save_training_state(tmp_path, copy_training_state(learner, optimizer, {"consumed": 1}))

    def full(path, data):
        with path.open("wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        save_training_state(tmp_path, copy_training_state(learner, optimizer, {"consumed": 2}))
    monkeypatch.undo()
    assert load_training_state(tmp_path, learner, optimizer)[0] == {"consumed": 1}
    assert os.listdir(tmp_path) == ["training.pt"]


def test_how_an_optimizer_computes_is_the_machine_s_not_the_checkpoint_s(tmp_path):
    learner, _ = run()
    fast = torch.optim.AdamW(learner.parameters(), lr=0.1, fused=True)
    step(learner, fast, 0)
    save_training_state(tmp_path, copy_training_state(learner, fast, {"consumed": 1}))
    plain = run(seed=5)
    load_training_state(tmp_path, *plain)
    assert not plain[1].param_groups[0]["fused"]
    assert torch.equal(plain[1].state_dict()["state"][0]["exp_avg"], fast.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["learner"]["3.bias"].fill_(float("nan")), "3.bias holds NaN"),
        (lambda s: s["learner"].update({"3.bias": torch.zeros(7)}), r"3.bias is torch.float32 \(7,\), expected"),
        (lambda s: s["learner"].update({"3.bias": torch.zeros(1).double()}), r"3.bias is torch.float64"),
        (lambda s: s["learner"].update(code="import os"), "another learner: code"),
        (lambda s: s["optimizer"]["state"][1]["exp_avg"].fill_(float("inf")), "optimizer's exp_avg holds NaN"),
        (lambda s: s["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)), r"exp_avg is torch.float32 \(3,\)"),
        (lambda s: s["optimizer"]["state"][0].update(step=float("nan")), "optimizer's step is nan"),
        (lambda s: s["optimizer"]["state"][0].update(step="5"), "optimizer's step is 5"),
        (lambda s: s["optimizer"]["state"].update({99: {}}), "parameter groups or their settings differ"),
        (lambda s: s["optimizer"].update(param_groups=3), "another optimizer"),
        (lambda s: s["optimizer"]["param_groups"][0].update(weight_decay=float("nan")), "their settings differ"),
        (lambda s: s["optimizer"]["param_groups"][0].update(betas=(0.5, 0.999)), "their settings differ"),
        (lambda s: s["optimizer"]["param_groups"][0].update(lr=float("nan")), "learning rate is nan"),
        (lambda s: s["optimizer"]["state"][0].pop("exp_avg"), "does not hold Adam's moments"),
        (lambda s: s["position"].update(consumed=torch.tensor(3)), "position is not a mapping"),
        (lambda s: s.update(position=[3]), "position is not a mapping"),
        (lambda s: s.update(ranks=torch.tensor([[float("nan")]])), "not a finite matrix"),
        (lambda s: s.update(ranks=None), "not a finite matrix"),
    ],
)
def test_training_state_with_odd_numbers_is_refused_and_nothing_is_filled(tmp_path, change, told):
    trained = run()
    step(*trained, 0)
    save_training_state(tmp_path, copy_training_state(*trained, {"consumed": 3}))
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "training.pt")
    learner, optimizer = run(seed=5)
    with pytest.raises(ValueError, match=told):
        load_training_state(tmp_path, learner, optimizer)
    assert not optimizer.state_dict()["state"]
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), run(seed=5)[0].parameters(), strict=True))
