"""S4ND against a direct sum over all offsets, in one, two and three axes."""

import itertools

import numpy as np
import pytest
import torch

from s4core import ConfigError, TaskShape, build
from s4core.convert import ConversionError, inflate_s4nd
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
    """Sum over every pair of positions; kernels (direction, rank, channel, feature, step) are 0
    beyond their tables."""
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
            direction, distance = (0, gap) if gap >= 0 else (1, -gap - 1)
            if direction < directions and distance < layer.l_max[i]:
                weight = weight * tables[i][direction, ..., distance]
            else:
                weight = weight * 0.0
        y[(..., *to)] += weight.mean(0) * u[(slice(None), None, slice(None), *start)]
    y += layer.D.detach().numpy()[None, :, :, *(None,) * len(axes)] * u[:, None]
    if layer.mix:
        y = y.sum(2)
        return torch.from_numpy(y.reshape(x.shape[0], C, -1)).transpose(1, 2)
    return torch.from_numpy(y.reshape(x.shape[0], C * 2, -1)).transpose(1, 2)


@pytest.mark.parametrize(
    ("axes", "l_max"),
    [
        ((7,), (7,)),
        ((3, 4), (3, 4)),
        ((2, 3, 2), (2, 3, 2)),
        ((7,), (3,)),
        ((6, 5), (2, 4)),
        ((3, 2, 4), (1, 2, 2)),
    ],
)
@pytest.mark.parametrize("trank", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("mix", [False, True])
def test_axis_by_axis_equals_the_sum_over_all_offsets(axes, l_max, trank, bidirectional, mix):
    torch.manual_seed(0)
    kernels = 2 * trank * (2 if bidirectional else 1)
    layer = S4ND(
        [Table(kernels, extent) for extent in l_max],
        axes,
        channels=2,
        trank=trank,
        bidirectional=bidirectional,
        mix=mix,
        l_max=l_max,
    ).double()
    x = torch.randn(2, int(np.prod(axes)), 2, dtype=torch.float64)
    assert (layer(x) - direct(layer, x)).abs().max() < 1e-12


def test_a_wrong_extent_is_refused():
    layer = S4ND([Table(2, 3), Table(2, 4)], (3, 4))
    with pytest.raises(ValueError, match="want 3 x 4 = 12 steps at rate 1, got 11"):
        layer(torch.randn(1, 11, 2))
    with pytest.raises(ValueError, match="need a system of 4 kernels"):
        S4ND([Table(2, 3), Table(2, 4)], (3, 4), channels=2)


def test_a_model_of_images_takes_twice_the_resolution_at_half_the_rate():
    """A coarse and a fine sampling of one smooth image get nearly the same answer."""
    torch.manual_seed(0)
    block = {"name": "s4nd", "structure": "diagonal", "d_model": 4, "n_layers": 1, "d_state": 8}
    shape = TaskShape(d_input=1, d_output=3, length=24 * 32, axes=(24, 32))
    model = build({**block, "norm": "none", "dt_min": 0.01, "dt_max": 0.02}, shape).double()

    def image(height, width):
        rows = torch.linspace(0, 1, height + 1, dtype=torch.float64)[:-1]
        columns = torch.linspace(0, 1, width + 1, dtype=torch.float64)[:-1]
        wave = torch.sin(4 * rows)[:, None] * torch.cos(3 * columns)
        return wave.reshape(1, -1, 1)

    coarse = model(image(24, 32))
    fine = model(image(48, 64), None, 0.5)
    wrong = model(image(24, 32) * 0.0)
    assert (fine - coarse).abs().max() < 0.2 * (coarse - wrong).abs().max()
    with pytest.raises(ValueError, match="want 48 x 64 = 3072 steps at rate 0.5"):
        model(image(48, 63), None, 0.5)


@pytest.mark.parametrize("structure", ["dplr", "diagonal"])
def test_a_model_of_small_images_runs_over_larger_ones_with_the_kernels_that_it_has(structure):
    """A small image on a dark ground gets within its frame what it gets alone."""
    torch.manual_seed(0)
    block = {"name": "s4nd", "structure": structure, "d_model": 4, "n_layers": 1, "d_state": 4}
    small = TaskShape(d_input=1, d_output=3, length=12, axes=(3, 4), target="step_value")
    large = TaskShape(d_input=1, d_output=3, length=35, axes=(5, 7), target="step_value")
    one, other = build(block, small).double(), build({**block, "l_max": [3, 4]}, large).double()
    other.load_state_dict(one.state_dict())
    layer, wider = (model.backbone.blocks[0].mixer for model in (one, other))
    image = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    ground = torch.zeros(2, 5, 7, 4, dtype=torch.float64)
    ground[:, 1:4, 2:6] = image
    inside = wider(ground.flatten(1, 2)).view_as(ground)[:, 1:4, 2:6]
    assert (inside - layer(image.flatten(1, 2)).view_as(image)).abs().max() < 1e-12
    # A single point is seen as far as the kernels reach.
    point = torch.zeros(1, 5, 7, 4, dtype=torch.float64)
    point[:, 0, 0] = 1.0
    reached = (wider(point.flatten(1, 2)).view_as(point).abs() > 1e-12).any(-1)[0]
    assert reached.nonzero().tolist() == [[i, j] for i in range(3) for j in range(4)]
    assert other(torch.randn(2, 35, 1).double()).isfinite().all()
    with pytest.raises(ValueError, match=r"an l_max for each of the axes \(5, 7\), got \[3\]"):
        build({**block, "l_max": [3]}, large)
    with pytest.raises(ConfigError, match="need l_max >= 1"):
        build({**block, "l_max": [0, 3]}, large)


def test_a_model_with_full_mixing_has_the_features_that_it_asks_for():
    shape = TaskShape(d_input=1, d_output=3, length=12, axes=(3, 4))
    model = build({"name": "s4nd", "d_model": 4, "d_state": 4, "out_channels": 6}, shape)
    assert model.backbone.blocks[0].mixer.d_output == 6
    assert model(torch.randn(2, 12, 1)).shape == (2, 3)
    with pytest.raises(ConfigError, match="channels 1 beside it"):
        build({"name": "s4nd", "out_channels": 6, "channels": 2}, shape)


@pytest.mark.parametrize("structure", ["dplr", "diagonal"])
def test_a_model_of_images_is_inflated_to_videos(structure):
    block = {"name": "s4nd", "structure": structure, "d_model": 4, "n_layers": 2, "d_state": 4}
    image = TaskShape(d_input=1, d_output=3, length=12, axes=(3, 4))
    video = TaskShape(d_input=1, d_output=3, length=60, axes=(5, 3, 4))
    images, videos = build(block, image).double(), build(block, video).double()
    inflate_s4nd(images, videos)
    for a, b in zip(images.backbone.blocks, videos.backbone.blocks, strict=True):
        time, height, width = b.mixer.systems
        for old, new, extent in ((a.mixer.systems[0], height, 3), (a.mixer.systems[1], width, 4)):
            assert torch.equal(old.kernel(extent), new.kernel(extent))
        assert torch.allclose(time.steps(1.0), torch.tensor(0.4).double(), rtol=1e-6)
        assert torch.equal(a.output.linear.weight, b.output.linear.weight)
        assert torch.equal(a.mixer.D, b.mixer.D)
    assert videos(torch.randn(2, 60, 1).double()).isfinite().all()
    with pytest.raises(ConversionError, match="extents of the axes"):
        inflate_s4nd(images, build(block, TaskShape(**{**vars(video), "axes": (5, 4, 3)})).double())
    with pytest.raises(ConversionError, match="differs"):
        inflate_s4nd(images, build({**block, "d_model": 6}, video).double())
