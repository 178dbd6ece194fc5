import numpy as np
import pytest
import torch

from herbray.model.objectives.autoencoder import Autoencoder


@pytest.mark.parametrize("size", [32, 64, 96, 256])
def test_drawing_has_the_size_of_the_image_and_lies_in_its_range(size):
    decoder = Autoencoder(width=2).build(512, size, 0).eval()
    drawn = decoder.reconstruct(torch.randn(2, 512))
    assert drawn.shape == (2, 3, size, size)
    assert drawn.min() > 0
    assert drawn.max() < 1


def test_map_enters_the_stages_at_an_eighth_of_the_side_and_grows_as_published():
    decoder = Autoencoder().build(512, 64, 0).eval()
    shapes = []
    for layer in (decoder.enlarge, *decoder.stages):
        layer.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:3])))
    decoder.reconstruct(torch.randn(1, 512))
    assert shapes == [(512, 8), *[(256, 16)] * 2, *[(128, 32)] * 2, *[(64, 64)] * 2, *[(64, 64)] * 2]
    assert decoder.encode.weight.shape == (256, 512)
    assert decoder.open.weight.shape == (512 * 16, 256)


def test_loss_is_the_mean_square_over_all_pixels():
    torch.manual_seed(0)
    decoder = Autoencoder(width=2).build(16, 32, 0).eval()
    features, images = torch.randn(3, 16), torch.rand(3, 3, 32, 32)
    drawn = decoder.reconstruct(features).detach().numpy().astype(float)
    due = np.mean([(drawn[i] - images[i].numpy()) ** 2 for i in range(3)])
    assert decoder(features, images, torch.empty(0))["loss"].item() == pytest.approx(due, rel=1e-5)


def test_skip_equals_enlarging_before_its_convolution():
    decoder = Autoencoder(width=4).build(16, 32, 0).eval()
    block = decoder.stages[0]
    convolve, norm, enlarge = block.skip
    maps = torch.randn(2, 32, 4, 4)
    torch.testing.assert_close(block.skip(maps), norm(convolve(enlarge(maps))))


@pytest.mark.parametrize("size", [16, 40, 80, 96, 100])
def test_images_of_any_side_are_reconstructed(size):
    decoder = Autoencoder(width=4).build(32, size, 0)
    found = decoder(torch.rand(3, 32), torch.rand(3, 3, size, size), torch.zeros(3, dtype=torch.int64))
    assert decoder.reconstruct(torch.rand(3, 32)).shape == (3, 3, size, size)
    found["loss"].backward()
    assert all(p.grad is not None for p in decoder.parameters())
