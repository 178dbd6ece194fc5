import numpy as np
import pytest
import torch

from herbray.model.augment import Augment, augment, prepare_images

STILL = {"flip": 0, "p_affine": 0, "p_light": 0, "crop_scale": 1}


def noise(n=6, side=32, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def blob(side, x, y, sigma=0.06):
    """A soft light spot at (x, y) in [-1, 1] on black, uint8 [1, side, side, 3]."""
    centres = (np.arange(side) * 2 + 1) / side - 1
    field = np.exp(-((centres[None] - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * sigma**2))
    return torch.from_numpy((field * 255).astype(np.uint8))[None, :, :, None].repeat(1, 1, 1, 3)


def centroids(planes):
    """Centre of light of each image: [m, 2], x and y in [-1, 1]."""
    light = planes.mean(dim=1)
    centres = (torch.arange(light.shape[-1]) * 2 + 1) / light.shape[-1] - 1
    total = light.sum(dim=(1, 2))
    return (
        torch.stack([(light * centres).sum(dim=(1, 2)), (light * centres[:, None]).sum(dim=(1, 2))], 1) / total[:, None]
    )


def test_nothing_changes_when_nothing_may():
    images = noise()
    due = images.permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(augment(images, 1, 32, Augment(**STILL)), due, atol=1e-5, rtol=0)
    torch.testing.assert_close(prepare_images(images, 32), due)


def test_both_layouts_give_the_same():
    images = noise()
    planes = images.permute(0, 3, 1, 2)
    assert torch.equal(augment(images, 3, 24, Augment()), augment(planes, 3, 24, Augment()))
    assert torch.equal(prepare_images(images, 24), prepare_images(planes.contiguous(), 24))


def test_result_follows_from_the_seed_alone():
    images = noise()
    first = augment(images, 2**62 - 1, 24, Augment())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(augment(images, 2**62 - 1, 24, Augment()), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(augment(images, 4, 24, Augment()), first)
    assert first.shape == (6, 3, 24, 24)
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1


def test_views_stand_side_by_side_and_differ():
    images = noise(2)
    found = augment(images, 1, 32, Augment(), views=3)
    assert torch.equal(found, augment(images.repeat_interleave(3, dim=0), 1, 32, Augment()))
    assert len({view.sum().item() for view in found}) == 6


def test_flip_mirrors():
    images = noise()
    mirrored = augment(images, 1, 32, Augment(**STILL | {"flip": 1}))
    torch.testing.assert_close(mirrored, prepare_images(images.flip(2), 32), atol=1e-5, rtol=0)
    some = augment(noise(400, 8), 1, 8, Augment(**STILL | {"flip": 0.3}))
    share = (some - prepare_images(noise(400, 8), 8)).abs().amax(dim=(1, 2, 3)).gt(0.01).float().mean()
    assert 0.2 < share < 0.4


def test_rotation_turns_about_the_centre_up_to_the_limit():
    images = blob(64, 0.5, 0).repeat(200, 1, 1, 1)
    spec = Augment(**STILL | {"p_affine": 1}, rotate=30, zoom=1, warp=0)
    found = centroids(augment(images, 1, 64, spec))
    angles = torch.atan2(found[:, 1], found[:, 0]).rad2deg()
    torch.testing.assert_close(found.norm(dim=1), torch.full((200,), 0.5), atol=0.01, rtol=0)
    assert -30.5 < angles.min() < -25
    assert 25 < angles.max() < 30.5


def test_zoom_magnifies_and_crop_keeps_its_share_of_the_area():
    images = blob(64, 0.4, 0).repeat(200, 1, 1, 1)
    zoomed = centroids(augment(images, 1, 64, Augment(**STILL | {"p_affine": 1}, rotate=0, zoom=1.5, warp=0)))[:, 0]
    assert 0.39 < zoomed.min() < 0.42
    assert 0.57 < zoomed.max() < 0.61
    pair = torch.cat([blob(64, -0.3, 0), blob(64, 0.3, 0)])
    lengths, places = [], []
    for seed in range(100):  # the same draws for a lone image: the distance of two spots is the magnification
        ends = [centroids(augment(spot[None], seed, 64, Augment(**STILL | {"crop_scale": 0.64})))[0] for spot in pair]
        lengths.append(float((ends[1] - ends[0]).norm()) / 0.6)
        places.append(float(ends[0][1]))
    assert 0.99 < min(lengths) < 1.05
    assert 1.2 < max(lengths) < 1.26  # 1 / sqrt(0.64)
    assert min(places) < -0.1
    assert max(places) > 0.1


def test_warp_is_the_projective_map_it_says():
    images = blob(64, 0.5, 0.0).repeat(300, 1, 1, 1)
    spec = Augment(**STILL | {"p_affine": 1}, rotate=0, zoom=1, warp=0.3, padding="zeros")
    found = centroids(augment(images, 1, 64, spec))
    tilts = 1 / 0.5 - 1 / found[:, 0]  # 0.5 = x / (1 + g x)
    assert -0.33 < tilts.min() < -0.25  # a spot that is stretched has its centre a little off
    assert 0.25 < tilts.max() < 0.33
    assert found[:, 1].abs().max() < 0.02


def test_light_is_gain_then_contrast_about_the_mean():
    images = noise(300, 8).clamp(80, 140)
    before = prepare_images(images, 8)
    dim = augment(images, 1, 8, Augment(**STILL | {"p_light": 1}, brightness=0.3, contrast=0))
    gains = (dim / before).flatten(1)
    torch.testing.assert_close(gains.amax(1), gains.amin(1), atol=1e-4, rtol=0)
    assert 0.69 < gains.min() < 0.73
    assert 1.27 < gains.max() < 1.31
    sharp = augment(images, 1, 8, Augment(**STILL | {"p_light": 1}, brightness=0, contrast=0.5))
    torch.testing.assert_close(sharp.mean(dim=(1, 2, 3)), before.mean(dim=(1, 2, 3)), atol=1e-4, rtol=0)
    slopes = sharp.flatten(1).std(1) / before.flatten(1).std(1)
    assert 0.49 < slopes.min() < 0.55
    assert 1.45 < slopes.max() < 1.51


def test_saturation_scales_the_distance_from_grey():
    images = noise(300, 8).clamp(100, 140)
    before = prepare_images(images, 8)
    found = augment(images, 1, 8, Augment(**STILL | {"p_light": 1}, brightness=0, contrast=0, saturation=0.5))
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    greys = [(planes * luma).sum(dim=1, keepdim=True) for planes in (before, found)]
    torch.testing.assert_close(greys[1], greys[0], atol=1e-4, rtol=0)
    factors = (found - greys[1]).flatten(1).norm(dim=1) / (before - greys[0]).flatten(1).norm(dim=1)
    torch.testing.assert_close(found, greys[0] + factors.view(-1, 1, 1, 1) * (before - greys[0]), atol=1e-4, rtol=0)
    assert 0.49 < factors.min() < 0.53
    assert 1.47 < factors.max() < 1.51


def test_tint_is_a_gain_of_each_channel():
    images = noise(300, 8).clamp(80, 140)
    found = augment(images, 1, 8, Augment(**STILL | {"p_light": 1}, brightness=0, contrast=0, tint=0.3))
    gains = (found / prepare_images(images, 8)).flatten(2)
    torch.testing.assert_close(gains.amax(2), gains.amin(2), atol=1e-4, rtol=0)
    assert gains.amin() < 0.72
    assert gains.amax() > 1.28
    assert gains.mean(2).T.corrcoef().fill_diagonal_(0).abs().max() < 0.2  # each channel on its own


def test_changes_of_colour_leave_the_other_draws_as_they_are():
    images = noise(64, 8).clamp(100, 140)
    plain, coloured = (augment(images, 1, 8, Augment(crop_scale=1, **more)) for more in ({}, {"tint": 1e-6}))
    torch.testing.assert_close(coloured, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("chance", [0.0, 0.75])
def test_each_change_happens_with_its_probability(chance):
    images = noise(600, 8)
    spec = Augment(**STILL | {"p_light": chance}, contrast=0)
    changed = (augment(images, 2, 8, spec) - prepare_images(images, 8)).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert abs(changed.float().mean() - chance) < 0.06


def test_beyond_the_edge_the_sheet_is_reflected():
    white = torch.full((50, 16, 16, 3), 255, dtype=torch.uint8)
    spec = Augment(**STILL | {"p_affine": 1}, rotate=45, zoom=1)
    assert augment(white, 1, 16, spec).min() > 0.999
    assert augment(white, 1, 16, spec.model_copy(update={"padding": "zeros"})).min() == 0


def test_larger_images_are_sampled_without_aliases():
    fine = torch.zeros(4, 128, 128, 3, dtype=torch.uint8)
    fine[:, ::2] = 255  # stripes that 32 pixels cannot show: grey
    for found in (
        augment(fine, 1, 32, Augment(**STILL)),
        augment(fine, 1, 32, Augment(p_light=0)),
        prepare_images(fine, 32),
    ):
        assert (found - 0.5).abs().max() < 0.05


def test_smaller_images_are_enlarged():
    images = noise(2, 16)
    assert augment(images, 1, 32, Augment()).shape == prepare_images(images, 32).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(2, 8, 9, 3, dtype=torch.uint8), "expected square images"),
        (torch.zeros(2, 8, 8, 4, dtype=torch.uint8), "expected square images"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), "expected uint8"),
        (torch.zeros(2, 3, 8, 8), r"float32 \(2, 3, 8, 8\); expected uint8"),
    ],
)
def test_other_arrays_are_refused(images, told):
    for call in (lambda: augment(images, 1, 8, Augment()), lambda: prepare_images(images, 8)):
        with pytest.raises(ValueError, match=told):
            call()


def test_no_map_folds_the_sheet_over():
    from herbray.model.augment import make_maps

    spec = Augment(rotate=180, warp=0.4, p_affine=1)
    maps = make_maps(torch.rand(5000, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64), spec)
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)], dtype=torch.float64)
    assert (corners @ maps.transpose(1, 2))[..., 2].min() > 1 - 2 * 0.4 - 1e-9


def test_zoom_about_anywhere_keeps_within_the_sheet_and_moves_its_centre():
    images = blob(64, 0.0, 0.0).repeat(300, 1, 1, 1)
    spec = Augment(**STILL | {"p_affine": 1}, rotate=0, zoom=1.5, warp=0)
    assert centroids(augment(images, 1, 64, spec)).abs().max() < 0.02
    moved = centroids(augment(images, 1, 64, spec.model_copy(update={"zoom_about": "anywhere"})))
    assert 0.3 < moved.abs().max() < 0.52  # (1.5 - 1) of half a side
    edges = torch.zeros(300, 64, 64, 3, dtype=torch.uint8)
    edges[:, 1:-1, 1:-1] = 255
    zeros = spec.model_copy(update={"zoom_about": "anywhere", "padding": "zeros"})
    white = torch.full_like(edges, 255)
    assert augment(white, 1, 64, zeros)[:, :, 2:-2, 2:-2].min() > 0.999  # nothing from beyond the edge


def test_light_in_log_odds_is_the_formula():
    images = noise(300, 8)
    before = prepare_images(images, 8).clamp(1e-6, 1 - 1e-6)
    odds = torch.log(before / (1 - before))
    spec = Augment(**STILL | {"p_light": 1, "light": "logit"}, brightness=0.2, contrast=0)
    dim = augment(images, 1, 8, spec).clamp(1e-6, 1 - 1e-6)
    inside = (before > 0.01) & (before < 0.99)
    shift = torch.where(inside, torch.log(dim / (1 - dim)) - odds, torch.nan).flatten(1)
    low, high = np.log(0.4 / 0.6), np.log(0.6 / 0.4)
    assert low - 1e-2 < np.nanmin(shift) < low + 0.05
    assert high - 0.05 < np.nanmax(shift) < high + 1e-2
    assert np.nanstd(shift[0]) < 1e-2
    sharp = augment(images, 1, 8, spec.model_copy(update={"brightness": 0.0, "contrast": 0.2}))
    slope = (torch.logit(sharp) / odds)[inside & (odds.abs() > 0.5)]
    assert 0.79 < slope.min() < 0.82
    assert 1.2 < slope.max() < 1.26
