import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from herbray.model import portable
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, EncoderRefused, read_encoder, save_encoder


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t | {"code": "import os"}, "code: unknown key"),
        (lambda t: {k: v for k, v in t.items() if k != "classes"}, "missing keys: classes"),
        (lambda t: t | {"dim": 128}, "dim is 128"),
        (lambda t: t | {"size": 10**9}, "size"),
        (lambda t: t | {"format_version": 2}, "format_version"),
        (lambda t: [t], "mapping"),
    ],
)
def test_reading_refuses_other_cards(folder, change, told):
    path = folder / portable.CARD_FILE
    tree = json.loads(path.read_text())
    del tree["sha256"]  # whoever forges a card knows how to seal it
    path.write_text(json.dumps(change(tree)))
    with pytest.raises(EncoderRefused, match=told):
        read_encoder(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"seed": NaN}', "NaN is not JSON"),
        ('{"seed": 1, "seed": 2}', "'seed' occurs twice"),
        ("[" * 100_000, "not a readable card"),
        ("{", "not a readable card"),
        ("\udcff", "not a readable card"),
        (" " * (portable.MAX_CARD_BYTES + 1), "at most"),
    ],
    ids=["nan", "twice", "deep", "cut", "binary", "huge"],
)
def test_reading_refuses_what_is_not_strict_json(folder, text, told):
    (folder / portable.CARD_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(EncoderRefused, match=told):
        read_encoder(folder)


@pytest.mark.slow
def test_a_card_that_names_a_huge_network_is_refused_before_the_network_is_built(folder, monkeypatch):
    pytest.importorskip("timm")
    card = json.loads((folder / portable.CARD_FILE).read_text()) | {"arch": "timm:vit_giant_patch14_224"}
    del card["sha256"]
    (folder / portable.CARD_FILE).write_text(json.dumps(card | {"size": 224, "dim": 1408}))
    built = []
    real = torch.nn.Module.register_parameter

    def watch(self, name, parameter):
        if parameter is not None and parameter.device.type != "meta":
            built.append(parameter.numel())
        real(self, name, parameter)

    monkeypatch.setattr(torch.nn.Module, "register_parameter", watch)
    for read in (read_encoder, portable.load):
        with pytest.raises(EncoderRefused, match="tensors that are missing"):
            read(folder)
    assert sum(built) < 10**6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("network.conv1.weight"), "tensors that are missing: 1, among them network.conv1.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "not part of this encoder: 1, among them extra"),
        (
            lambda t: t.update({"network.bn1.bias": torch.zeros(65)}),
            r"network.bn1.bias is F32 \[65\]; expected F32 \[64\]",
        ),
        (lambda t: t.update({"network.bn1.bias": torch.zeros(64).double()}), r"is F64 \[64\]"),
        (lambda t: t["network.bn1.bias"].fill_(float("inf")), "network.bn1.bias holds NaN or infinity"),
        (lambda t: t.update(extra=torch.zeros(2**21)), "bytes; the card's encoder has at most"),
    ],
    ids=["missing", "extra", "shape", "dtype", "infinite", "large"],
)
def test_reading_refuses_other_tensors(folder, encoder, change, told):
    tensors = {name: t.clone().contiguous() for name, t in encoder.state_dict().items()}
    change(tensors)
    save_file(tensors, folder / portable.WEIGHTS_FILE)
    card = json.loads((folder / portable.CARD_FILE).read_text()) | {"weights": ""}
    del card["sha256"]
    (folder / portable.CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(EncoderRefused, match=told):
        read_encoder(folder)


@pytest.mark.slow
def test_a_flipped_bit_of_either_file_is_noticed(folder):
    for name in (portable.WEIGHTS_FILE, portable.CARD_FILE):
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
    weights = (folder / portable.WEIGHTS_FILE).read_bytes()
    for data in (pickle.dumps(Trap()), weights[: len(weights) // 2], b""):
        (folder / portable.WEIGHTS_FILE).write_bytes(data)
        with pytest.raises(EncoderRefused, match="not a readable safetensors file"):
            read_encoder(folder)
    assert not Path("trap-was-sprung").exists()
    for name in (portable.WEIGHTS_FILE, portable.CARD_FILE):
        (folder / name).unlink()
        with pytest.raises(EncoderRefused, match=f"{name}: no such file"):
            read_encoder(folder)
