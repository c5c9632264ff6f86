"""S4ND against a direct sum over all offsets, in one, two and three axes."""

import itertools

import numpy as np
import pytest
import torch

from s4core.nn.s4nd import S4ND


class Table(torch.nn.Module):
    """A system whose kernel is a table."""

    def __init__(self, kernels, length):
        super().__init__()
        self.channels, self.d_model = kernels, 2
        self.table = torch.randn(kernels, 2, length, dtype=torch.float64)

    def kernel(self, length, rate=1.0):
        return self.table[..., :length]


def direct(layer, x):
    """Sum over every pair of positions; kernels (direction, rank, channel, feature, step)."""
    axes, T = layer.axes, layer.trank
    directions = 2 if layer.bidirectional else 1
    C = layer.D.shape[0]
    tables = [s.table.view(directions, T, C, 2, -1).numpy() for s in layer.systems]
    u = x.transpose(1, 2).reshape(x.shape[0], 2, *axes).numpy()
    y = np.zeros((x.shape[0], C, 2, *axes))
    cells = list(itertools.product(*map(range, axes)))
    for to, start in itertools.product(cells, cells):
        weight = np.ones((T, C, 2))
        for i, gap in enumerate(np.subtract(to, start)):
            if gap >= 0:
                weight = weight * tables[i][0, ..., gap]
            elif directions == 2:
                weight = weight * tables[i][1, ..., -gap - 1]
            else:
                weight = weight * 0.0
        y[(..., *to)] += weight.mean(0) * u[(slice(None), None, slice(None), *start)]
    y += layer.D.detach().numpy()[None, :, :, *(None,) * len(axes)] * u[:, None]
    return torch.from_numpy(y.reshape(x.shape[0], C * 2, -1)).transpose(1, 2)


@pytest.mark.parametrize("axes", [(7,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("trank", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_axis_by_axis_equals_the_sum_over_all_offsets(axes, trank, bidirectional):
    torch.manual_seed(0)
    kernels = 2 * trank * (2 if bidirectional else 1)
    layer = S4ND(
        [Table(kernels, extent) for extent in axes],
        axes,
        channels=2,
        trank=trank,
        bidirectional=bidirectional,
    ).double()
    x = torch.randn(2, int(np.prod(axes)), 2, dtype=torch.float64)
    assert (layer(x) - direct(layer, x)).abs().max() < 1e-12


def test_a_wrong_extent_is_refused():
    layer = S4ND([Table(2, 3), Table(2, 4)], (3, 4))
    with pytest.raises(ValueError, match="want 3 x 4 = 12 steps at rate 1, got 11"):
        layer(torch.randn(1, 11, 2))
    with pytest.raises(ValueError, match="need a system of 4 kernels"):
        S4ND([Table(2, 3), Table(2, 4)], (3, 4), channels=2)
