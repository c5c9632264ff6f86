"""S5: its modes agree, its initial values have the published spectra and distributions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.ssm.mimo import MimoOptions, MimoSSM

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


VARIANTS = [
    {},
    {"conj_sym": False, "discretize": "bilinear", "C_init": "lecun_normal"},
    {"clip_eigs": True, "C_init": "complex_normal"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("length", [1, 13])
def test_step_is_scan(options, length):
    layer = MimoSSM(5, MimoOptions(d_state=8, blocks=2, **options))
    u = torch.randn(3, length, 5)
    y = layer(u, rate=2.0)
    state, steps = layer.initial_state(3, rate=2.0), []
    for t in range(length):
        out, state = layer.step(u[:, t], state)
        steps.append(out)
    torch.testing.assert_close(torch.stack(steps, 1), y)
    cut, carried = [], layer.initial_state(3)
    for piece in u.split(4, 1):
        out, carried = layer.forward_with_state(piece, carried, rate=2.0)
        cut.append(out)
    torch.testing.assert_close(torch.cat(cut, 1), y)
    torch.testing.assert_close(carried.x, state.x)


def test_unit_gaps_are_regular_steps():
    layer = MimoSSM(5, MimoOptions(d_state=8, blocks=2, bidirectional=True))
    u = torch.randn(3, 9, 5)
    torch.testing.assert_close(layer(u, dt=torch.ones(3, 9)), layer(u))
    with pytest.raises(ValueError, match="no step mode"):
        layer.initial_state(1)


def test_the_spectrum_is_the_published_one():
    z = np.load(GOLDEN / "s5_jax_part.npz")["init/N16/Lambda_full"]
    full = MimoSSM(3, MimoOptions(d_state=32, blocks=2, conj_sym=False)).A().detach().numpy()
    assert np.abs(full[:16] - z).max() < 2e-5 and np.abs(full[16:] - z).max() < 2e-5
    half = MimoSSM(3, MimoOptions(d_state=32, blocks=2)).A().detach().numpy()
    assert np.abs(half[:8] - z[:8]).max() < 2e-5


@pytest.mark.parametrize(("d_state", "H"), [(256, 128), (64, 32)])
@pytest.mark.parametrize("C_init", ["trunc_standard_normal", "lecun_normal", "complex_normal"])
def test_initial_distributions_are_the_published_ones(C_init, d_state, H):
    """Standard deviations as the published initialisers drew them, at two sizes."""
    torch.manual_seed(0)
    drawn = json.loads((GOLDEN / "s5_init_stats.json").read_text())
    sizes = f"H={H},P={H}" if C_init == "complex_normal" else f"H={H},2P={d_state}"
    C = "C" if C_init == "complex_normal" else "C_raw"
    layer = MimoSSM(H, MimoOptions(d_state=d_state, blocks=8, C_init=C_init))
    # V has orthonormal columns, so it keeps the size of the real and imaginary parts.
    assert abs(layer.C.std() / drawn[f"{C} {C_init} ({sizes},2) std"] - 1) < 0.05
    # V^H of a real matrix shares its variance between real and imaginary part.
    raw = drawn[f"B_raw lecun (2P={d_state},H={H}) std"]
    assert abs(layer.B.std() / (raw / 2**0.5) - 1) < 0.05
    log_dt = layer.dt.detach()
    assert np.log(0.001) <= log_dt.min() and log_dt.max() <= np.log(0.1)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="blocks of an even size"):
        MimoOptions(d_state=10, blocks=4)
