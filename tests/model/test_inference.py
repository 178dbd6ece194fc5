import copy

import numpy as np
import pytest
import torch
from torch import nn

from herbray.model.augment import prepare_images
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.inference import build_embedder, fold_batch_norm


@pytest.fixture(scope="module", params=["standard", "cifar"])
def encoder(request):
    built = build_encoder(EncoderSpec(size=32, stem=request.param), 0)
    with torch.no_grad():  # statistics that are not those of the start
        for seed in range(3):
            built(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    return built.eval()


@pytest.mark.slow
def test_folded_norms_leave_the_features_as_they_are(encoder):
    before = copy.deepcopy(encoder.state_dict())
    folded = fold_batch_norm(encoder)
    images = torch.rand(5, 3, 32, 32)
    with torch.inference_mode():
        due = encoder(images)
        torch.testing.assert_close(folded(images), due, rtol=0, atol=1e-5 * float(due.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 7])
def test_ready_for_the_cpu_gives_the_features_of_the_plain_encoder(encoder, rows):
    pixels = torch.from_numpy(np.random.default_rng(rows).integers(0, 256, (rows, 40, 40, 3), np.uint8))
    found = build_embedder(encoder, torch.device("cpu"))(pixels)
    with torch.inference_mode():
        due = encoder(prepare_images(pixels, 32))
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found, due, rtol=0, atol=1e-5 * float(due.abs().max()))
