import os
import socket
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.learner import Learner
from herbray.model.objectives import OBJECTIVES, DataFacts

WORLD = 2
CASES = {
    "classifier": {},
    "autoencoder": {"width": 2},
    "triplet": {},  # reaches over the batch: gathers the ranks' features
    "triplet semi-hard": {"mining": "semi_hard", "margin": 0.5},
    "triplet random": {"mining": "random", "margin": 0.5},
    "triplet published": {"mining": "published", "margin": 0.5, "group": 2, "rivals": 2},  # each rank's own batch
    "contrastive": {"temperature": 0.5},
    "arcface": {},
    "hierarchical": {"decay": 0.3},
    "distil": {},
    "simsiam": {},
}
LINEAGE = torch.tensor([[0, 0], [0, 1], [1, 2]])
GATHERS = ("triplet", "contrastive")


def learner(name):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        objective = OBJECTIVES[name.split()[0]](**CASES[name]).build(512, 32, 3, DataFacts(LINEAGE, teacher_dim=3))
    # Evaluation mode: batch norm by running statistics, so that a row's features do not depend on its batch.
    made = Learner(build_encoder(EncoderSpec(size=32), 0), objective).eval()
    if name.split()[0] in GATHERS:  # have no norm of their own, and gather in training alone
        made.objective.train()
    return made


def batch():
    """Pairs side by side, then two rivals, for each rank; rank after rank, as the ranks' batches are joined."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 2, 2, 0, 0, 1, 1, 1, 2])
    return torch.rand(len(labels), 3, 32, 32, generator=generator), labels


def model_of(model):
    return model.module if isinstance(model, DistributedDataParallel) else model


def run(model, images, labels):
    torch.manual_seed(5)  # of the objectives that draw
    targets = (images.mean(dim=(2, 3)) - 0.5,) if hasattr(model_of(model).objective, "beside") else ()
    return model(images, labels, *targets)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def worker(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORLD, timeout=timedelta(seconds=300))
    found = {}
    for name in CASES:
        model = learner(name)
        images, labels = (part.chunk(WORLD)[rank] for part in batch())
        wrapped = DistributedDataParallel(model)  # named: it must outlive the backward pass
        out = run(wrapped, images, labels)
        out["loss"].backward()
        found[name] = {"gradients": gradients(model), "out": {key: value.detach() for key, value in out.items()}}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_have_the_gradient_of_one_process(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=WORLD)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for name in CASES:
        model = learner(name)
        whole = [batch()]
        if name == "triplet published":
            whole = [*zip(*(part.chunk(WORLD) for part in batch()), strict=True)]
        outs = [run(model, *each) for each in whole]
        out = {key: sum(each[key] for each in outs) / len(outs) for key in outs[0]}
        out["loss"].backward()
        means = {key: sum(found[name]["out"][key].double() for found in ranks) / WORLD for key in out}
        out.pop("spread", None)  # of a rank's own batch
        for key, value in out.items():
            torch.testing.assert_close(means[key].item(), value.item(), rtol=1e-4, atol=1e-6)
        for parameter, due in gradients(model).items():
            for found in ranks:
                mine = found[name]["gradients"][parameter]
                torch.testing.assert_close(mine, due, rtol=1e-3, atol=1e-6 + 1e-4 * due.abs().max())


def test_forward_joins_encoder_and_objective_and_lists_every_parameter_once():
    model = learner("classifier")
    images, labels = batch()
    due = model.objective(model.encoder(images), images, labels)
    assert torch.equal(model(images, labels)["loss"], due["loss"])
    count = sum(p.numel() for p in model.parameters())
    assert count == 11_176_512 + 1024 + 512 * 512 + 1024 + 512 * 3
    model.eval()
    with pytest.raises(ValueError, match="this encoder expects"):
        model(images[:, :, :16, :16], labels)
