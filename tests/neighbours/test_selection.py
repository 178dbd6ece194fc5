import pytest
import torch

from herbray.neighbours.selection import select_largest, sort_largest


@pytest.mark.parametrize("columns", [4096, 4090, 331, 20])  # 4090 and 331 leave columns that fill no lane
@pytest.mark.parametrize("k", [1, 10])
def test_the_largest_are_those_of_topk(columns, k):
    scores = torch.randn(40, columns, generator=torch.Generator().manual_seed(2))
    scores[:, :9] += 10  # the best stand side by side
    scores[:, -3:] += 12  # and in the last columns
    values, places = select_largest(scores, k)
    due = scores.topk(k, dim=1)
    assert torch.equal(values, due.values)
    assert torch.equal(places, due.indices)


@pytest.mark.parametrize("k", [1, 7, 50])
def test_keys_are_ordered_from_the_largest(k):
    keys = torch.randint(0, 30, (20, 50), generator=torch.Generator().manual_seed(3)).double()
    keys[:, :5] = -torch.inf
    due = keys.topk(k, dim=1).values
    assert torch.equal(sort_largest(keys.clone(), k), due)
