import copy

import pytest
import torch
from torch import nn

from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.speed.depthwise import speed_up_depthwise


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [(2, 5, 1, 2), (4, 5, 1, 2), (5, 5, 2, 1), (6, 5, 2, 1), (2, 3, 1, 1), (8, 7, 2, 2)],
)
def test_gradients_equal_those_of_torch(side, kernel, stride, padding, layout):
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False).double()
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    assert type(fast) is not nn.Conv2d
    maps = torch.randn(3, 6, side, side, dtype=torch.float64).contiguous(memory_format=layout)
    found = []
    for network in (plain, fast):
        given = maps.clone().requires_grad_()
        made = network(given)
        (made.sin()).sum().backward()
        found.append((made.detach(), given.grad, network.weight.grad))
    assert max(found[0][0].shape[-2:]) < kernel  # the case that is changed
    for due, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine, due)


def test_other_convolutions_stay_as_they_are():
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 16, 3, padding="same", groups=16, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, dilation=2, groups=16, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False, padding_mode="reflect"),
    )
    speed_up_depthwise(network)
    assert {type(module) for module in network} == {nn.Conv2d}


@pytest.mark.parametrize("arch", ["efficientnet_lite0", "mobilenet_v3_small"])
def test_a_network_has_the_same_results_gradients_and_names(arch):
    plain = build_encoder(EncoderSpec(arch=arch, size=64), 0).double()
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    images = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    for network in (plain, fast):
        network(images).square().sum().backward()
    assert list(plain.state_dict()) == list(fast.state_dict())
    changed = sum(type(module).__name__ == "_Depthwise" for module in fast.modules())
    assert changed >= 10
    for (name, due), mine in zip(plain.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, due.grad, msg=name)
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), fast.eval()(images))
