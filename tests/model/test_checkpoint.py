import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from herbray.model import portable
from herbray.model.checkpoint import (
    EncoderCard,
    EncoderRefused,
    load_training,
    read_encoder,
    save_encoder,
    save_training,
    training_state,
)
from herbray.model.encoder import EncoderSpec, build_encoder


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap-was-sprung"),))


def card(**changes):
    facts = {"arch": "resnet18", "stem": "standard", "normalise": True, "size": 64, "dim": 512}
    known = {"classes": ["Dendrobium", "Syzygium"], "objective": "triplet", "init": "random", "seed": 89}
    more = {"shards_fingerprint": "0a1b", "citation": "Ärzte 2021", "spec": {"stream": {"batch": 64}}}
    return EncoderCard(**{**facts, **known, **more, **changes})


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(EncoderSpec(size=64), 1).eval()


@pytest.fixture
def folder(tmp_path, encoder):
    save_encoder(tmp_path / "encoder", encoder, card())
    return tmp_path / "encoder"


def test_what_is_saved_is_read_back(folder, encoder):
    found, told = read_encoder(folder)
    assert told == card().model_copy(update={"weights": told.weights})
    assert len(told.weights) == 64
    assert not found.training
    assert found.state_dict().keys() == encoder.state_dict().keys()
    assert all(torch.equal(t, encoder.state_dict()[name]) for name, t in found.state_dict().items())
    assert sorted(os.listdir(folder)) == ["encoder.json", "encoder.safetensors"]


def test_the_same_encoder_gives_the_same_bytes(folder, tmp_path, encoder):
    save_encoder(tmp_path / "again", encoder.to(memory_format=torch.channels_last), card())
    for name in os.listdir(folder):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_saving_refuses_a_card_of_another_encoder_and_weights_that_diverged(tmp_path, encoder):
    with pytest.raises(EncoderRefused, match="card says size=128, the encoder has 64"):
        save_encoder(tmp_path, encoder, card(size=128))
    broken = build_encoder(EncoderSpec(size=64), 1)
    with torch.no_grad():
        broken.network.conv1.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(EncoderRefused, match=r"network.conv1.weight holds NaN"):
        save_encoder(tmp_path, broken, card())
    with pytest.raises(EncoderRefused, match="cannot be written as JSON"):
        save_encoder(tmp_path, encoder, card(spec={"lr": object()}))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t | {"code": "import os"}, "code: unknown key"),
        (lambda t: {k: v for k, v in t.items() if k != "classes"}, "missing keys: classes"),
        (lambda t: t | {"dim": 128}, "dim=128"),
        (lambda t: t | {"size": 10**9}, "size"),
        (lambda t: t | {"format_version": 2}, "format_version"),
        (lambda t: [t], "mapping"),
    ],
)
def test_reading_refuses_other_cards(folder, change, told):
    path = folder / portable.CARD
    tree = json.loads(path.read_text())
    del tree["sha256"]  # whoever forges a card knows how to seal it
    path.write_text(json.dumps(change(tree)))
    with pytest.raises(EncoderRefused, match=told):
        read_encoder(folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"seed": NaN}', "NaN is not JSON"),
        ('{"seed": 1, "seed": 2}', "'seed' stands twice"),
        ("[" * 100_000, "not a readable card"),
        ("{", "not a readable card"),
        ("\udcff", "not a readable card"),
        (" " * (portable.MAX_CARD_BYTES + 1), "at most"),
    ],
    ids=["nan", "twice", "deep", "cut", "binary", "huge"],
)
def test_reading_refuses_what_is_not_strict_json(folder, text, told):
    (folder / portable.CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(EncoderRefused, match=told):
        read_encoder(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("network.conv1.weight"), "1 tensors are missing, among them network.conv1.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "not of this encoder, among them extra"),
        (
            lambda t: t.update({"network.bn1.bias": torch.zeros(65)}),
            r"network.bn1.bias is F32 \[65\]; wanted F32 \[64\]",
        ),
        (lambda t: t.update({"network.bn1.bias": torch.zeros(64).double()}), r"is F64 \[64\]"),
        (lambda t: t["network.bn1.bias"].fill_(float("inf")), "network.bn1.bias holds NaN or infinity"),
        (lambda t: t.update(extra=torch.zeros(2**21)), "bytes; a resnet18 has at most"),
    ],
    ids=["missing", "extra", "shape", "dtype", "infinite", "large"],
)
def test_reading_refuses_other_tensors(folder, encoder, change, told):
    tensors = {name: t.clone().contiguous() for name, t in encoder.state_dict().items()}
    change(tensors)
    save_file(tensors, folder / portable.WEIGHTS)
    card = json.loads((folder / portable.CARD).read_text()) | {"weights": ""}
    del card["sha256"]
    (folder / portable.CARD).write_text(json.dumps(card))
    with pytest.raises(EncoderRefused, match=told):
        read_encoder(folder)


def test_a_flipped_bit_of_either_file_is_noticed(folder):
    for name in (portable.WEIGHTS, portable.CARD):
        path = folder / name
        data = path.read_bytes()
        for part in (0.1, 0.5, 0.9):
            place = int(part * len(data))
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            for read in (read_encoder, portable.load):
                with pytest.raises(EncoderRefused, match=name):
                    read(folder)
        path.write_bytes(data)
    assert read_encoder(folder)


def test_reading_refuses_pickles_cut_files_and_absent_files(folder, monkeypatch):
    monkeypatch.chdir(folder)
    weights = (folder / portable.WEIGHTS).read_bytes()
    for data in (pickle.dumps(Trap()), weights[: len(weights) // 2], b""):
        (folder / portable.WEIGHTS).write_bytes(data)
        with pytest.raises(EncoderRefused, match="not a readable safetensors file"):
            read_encoder(folder)
    assert not Path("trap-was-sprung").exists()
    for name in (portable.WEIGHTS, portable.CARD):
        (folder / name).unlink()
        with pytest.raises(EncoderRefused, match=f"{name}: no such file"):
            read_encoder(folder)


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
    state = training_state(*broken, {"consumed": 3, "loss": losses[2], "run": "a"}, ranks)
    assert step(*broken, 3) == losses[3]  # what was copied does not move with it
    save_training(tmp_path, state)
    resumed = run(seed=99)
    position, found = load_training(tmp_path, *resumed)
    assert position == {"consumed": 3, "loss": losses[2], "run": "a"}
    assert torch.equal(found, ranks)
    assert [step(*resumed, seed) for seed in range(3, 6)] == losses[3:]
    assert os.listdir(tmp_path) == ["training.pt"]


def test_training_state_of_another_learner_or_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learner, optimizer = run()
    with pytest.raises(ValueError, match="no such file"):
        load_training(tmp_path, learner, optimizer)
    with pytest.raises(ValueError, match="plain numbers"):
        training_state(learner, optimizer, {"step": torch.tensor(3)})
    save_training(tmp_path, training_state(learner, optimizer, {}))
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="another learner"):
        load_training(tmp_path, other, torch.optim.AdamW(other.parameters()))
    groups = [{"params": [*learner.parameters()][:1]}, {"params": [*learner.parameters()][1:]}]
    with pytest.raises(ValueError, match="another optimizer: its parameters are grouped"):
        load_training(tmp_path, learner, torch.optim.AdamW(groups))
    torch.save({"learner": Trap()}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="can be read safely"):
        load_training(tmp_path, learner, optimizer)
    torch.save({"learner": {}}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="not a training state"):
        load_training(tmp_path, learner, optimizer)
    assert not Path("trap-was-sprung").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    learner, optimizer = run()
    save_training(tmp_path, training_state(learner, optimizer, {"consumed": 1}))

    def full(path, data):
        with path.open("wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        save_training(tmp_path, training_state(learner, optimizer, {"consumed": 2}))
    monkeypatch.undo()
    assert load_training(tmp_path, learner, optimizer)[0] == {"consumed": 1}
    assert os.listdir(tmp_path) == ["training.pt"]


def test_how_an_optimizer_computes_is_the_machine_s_not_the_checkpoint_s(tmp_path):
    learner, _ = run()
    fast = torch.optim.AdamW(learner.parameters(), lr=0.1, fused=True)
    step(learner, fast, 0)
    save_training(tmp_path, training_state(learner, fast, {"consumed": 1}))
    plain = run(seed=5)
    load_training(tmp_path, *plain)
    assert not plain[1].param_groups[0]["fused"]
    assert torch.equal(plain[1].state_dict()["state"][0]["exp_avg"], fast.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["learner"]["3.bias"].fill_(float("nan")), "3.bias holds NaN"),
        (lambda s: s["learner"].update({"3.bias": torch.zeros(7)}), r"3.bias is torch.float32 \(7,\), not"),
        (lambda s: s["learner"].update({"3.bias": torch.zeros(1).double()}), r"3.bias is torch.float64"),
        (lambda s: s["learner"].update(code="import os"), "another learner: code"),
        (lambda s: s["optimizer"]["state"][1]["exp_avg"].fill_(float("inf")), "optimizer's exp_avg holds NaN"),
        (lambda s: s["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)), r"exp_avg is torch.float32 \(3,\)"),
        (lambda s: s["optimizer"]["state"][0].update(step=float("nan")), "optimizer's step is nan"),
        (lambda s: s["optimizer"]["state"][0].update(step="5"), "optimizer's step is 5"),
        (lambda s: s["optimizer"]["state"].update({99: {}}), "grouped in another way"),
        (lambda s: s["optimizer"].update(param_groups=3), "another optimizer"),
        (lambda s: s["optimizer"]["param_groups"][0].update(weight_decay=float("nan")), "its settings differ"),
        (lambda s: s["optimizer"]["param_groups"][0].update(betas=(0.5, 0.999)), "its settings differ"),
        (lambda s: s["optimizer"]["param_groups"][0].update(lr=float("nan")), "learning rate is nan"),
        (lambda s: s["optimizer"]["state"][0].pop("exp_avg"), "not Adam's"),
        (lambda s: s["position"].update(consumed=torch.tensor(3)), "position is no mapping"),
        (lambda s: s.update(position=[3]), "position is no mapping"),
        (lambda s: s.update(ranks=torch.tensor([[float("nan")]])), "no finite matrix"),
        (lambda s: s.update(ranks=None), "no finite matrix"),
    ],
)
def test_training_state_with_odd_numbers_is_refused_and_nothing_is_filled(tmp_path, change, told):
    trained = run()
    step(*trained, 0)
    save_training(tmp_path, training_state(*trained, {"consumed": 3}))
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    change(state)
    torch.save(state, tmp_path / "training.pt")
    learner, optimizer = run(seed=5)
    with pytest.raises(ValueError, match=told):
        load_training(tmp_path, learner, optimizer)
    assert not optimizer.state_dict()["state"]
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), run(seed=5)[0].parameters(), strict=True))
