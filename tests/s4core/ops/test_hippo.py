"""HiPPO matrices against published numbers, and the identity that defines their NPLR form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.ops.hippo import FAMILIES, hippo, nplr

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "hippo_matrices.npz")
NPLR = ("legs", "legt", "lagt", "fout", "fourier_decay", "fourier2", "foud", "legsd")


@pytest.mark.parametrize("name", FAMILIES)
def test_matrices_are_the_published_ones(name):
    A, B = hippo(name, 8)
    torch.testing.assert_close(A, torch.from_numpy(GOLDEN[f"{name}_N8_A"]), rtol=1e-14, atol=0)
    torch.testing.assert_close(B, torch.from_numpy(GOLDEN[f"{name}_N8_B"]), rtol=1e-14, atol=0)


@pytest.mark.parametrize("N", [2, 4, 8, 64])
@pytest.mark.parametrize("name", NPLR)
@pytest.mark.parametrize("rank", [2, 3])
def test_the_nplr_form_is_the_matrix(name, N, rank):
    """A = V^ (diag - P^ P^*) V^*, with conjugates appended: the form that a kernel uses."""
    A, B = hippo(name, N)
    Lambda, P, Bc, V = nplr(name, N, rank)
    assert P.shape == (rank, N // 2)

    def both(x):
        return torch.cat([x, x.conj()], -1)

    V, P = both(V), both(P)
    rebuilt = V @ (torch.diag(both(Lambda)) - P.T @ P.conj()) @ V.conj().T
    assert (rebuilt - A).abs().max() < 1e-13 * N * A.abs().max()
    assert (V @ both(Bc) - B).abs().max() < 1e-13 * N


@pytest.mark.parametrize("name", NPLR)
def test_eigenvalues_are_the_published_ones(name):
    rank = len(GOLDEN[f"{name}_N8_P_real"])
    Lambda, P, B, _ = nplr(name, 8, rank)
    # The published Fourier families carry a float32 P.
    tolerance = 1e-12 if name in ("legs", "legt", "lagt", "legsd", "foud") else 5e-7
    assert np.abs(Lambda.numpy() - GOLDEN[f"{name}_N8_W"]).max() < tolerance
    if name != "foud":  # The published B of foud is wrong by 0.71.
        assert np.abs(B.abs().numpy() - np.abs(GOLDEN[f"{name}_N8_Bc"])).max() < tolerance
        assert np.abs(P.abs().numpy() - np.abs(GOLDEN[f"{name}_N8_Pc"])).max() < tolerance


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'legs'"):
        hippo("leggs", 8)
    with pytest.raises(ValueError, match="even number"):
        nplr("legs", 7)
    with pytest.raises(ValueError, match="rank >= 2"):
        nplr("legt", 8, 1)
    with pytest.raises(ValueError, match="no known"):
        nplr("lmu", 8)
