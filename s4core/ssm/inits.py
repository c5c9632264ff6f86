"""Initial systems by name: HiPPO families, spectra, and mixtures of both over the copies."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch

from ..config import config, nearest
from ..ops.hippo import ALIASES, nplr
from ..ops.spectra import SPECTRA, spectrum
from ..shapes import Complex, Tensor

InputInit = Literal["constant", "random", "alternating", "unit-cw", "unit-ccw", "legs"]

HIPPO = ("legs", "legt", "lagt", "fout", "fourier_decay", "fourier2", "foud", "legsd", *ALIASES)
MIXTURES = {
    "hippo": ("legs", "fourier"),
    "diag": ("diag-inv", "diag-lin"),
    "all": ("legs", "fourier", "diag-inv", "diag-lin"),
}
# Entries of B of a HiPPO family grow with N; the published code stops their imaginary part here.
B_CLIP = 2.0


@config
class InitOptions:
    """How an init is varied. real_scale, imag_scale: factors of Re A and Im A, of any init (the
    second tunes which frequencies a model learns, see nn/frequency.py).

    Of spectra (lin, inv, ..., also as diag-X and dplr-X; HiPPO families have theirs given):
    real_random, imag_random: draw Re from U[0, 1], Im from U[0, N/2] steps; B_init, B_scale: the
    input vector; normalize: B with unit state variance; P_scale: size of the random low-rank term
    of dplr-X.
    """

    real_scale: float = 1.0
    imag_scale: float = 1.0
    real_random: bool = False
    imag_random: bool = False
    B_init: InputInit = "constant"
    B_scale: float = 1.0
    P_scale: float = 1.0
    normalize: bool = False


@dataclasses.dataclass(frozen=True)
class System:
    """S copies of (Lambda, P, B) and the basis V in which C was the plain readout."""

    Lambda: Complex[Tensor, "S n"]
    P: Complex[Tensor, "R S n"]
    B: Complex[Tensor, "S n"]
    V: Complex[Tensor, "S N n"]


def initial_system(
    name: str, d_state: int, copies: int, *, rank: int = 1, options: InitOptions | None = None
) -> System:
    """The system that `name` stands for, in complex128, with n = d_state / 2 modes.

    name: a HiPPO family (its normal-plus-low-rank form), diag-X (spectrum X, P = 0), dplr-X
    (spectrum X, random P), bare X where no family has that name, or a mixture (hippo, diag, all),
    whose members take equal shares of the copies, in order.
    Raises ValueError for an odd d_state, an unknown name, or copies that do not divide.
    """
    if d_state % 2:
        raise ValueError(f"need an even d_state, got {d_state}: states come in conjugate pairs.")
    options = options or InitOptions()
    members = MIXTURES.get(name, (name,))
    if copies % len(members):
        raise ValueError(
            f"init {name!r} mixes {len(members)} systems, so n_ssm must be a multiple of that; "
            f"got {copies}."
        )
    share = copies // len(members)
    parts = [_one(member, d_state, share, rank, options) for member in members]
    return System(
        torch.cat([p.Lambda for p in parts]),
        torch.cat([p.P for p in parts], 1),
        torch.cat([p.B for p in parts]),
        torch.cat([p.V for p in parts]),
    )


def _one(name: str, N: int, copies: int, rank: int, options: InitOptions) -> System:
    if name == "random":
        return _random(N, copies, rank, options)
    if name in HIPPO:
        Lambda, P, B, V = nplr(name, N, rank)
        B = torch.complex(B.real, B.imag.clamp(-B_CLIP, B_CLIP))
        V, Lambda = V.expand(copies, N, -1), _scaled(Lambda, options)
        return System(Lambda.repeat(copies, 1), P.unsqueeze(1).repeat(1, copies, 1),
                      B.repeat(copies, 1), V)  # fmt: skip
    kind, _, base = name.rpartition("-")
    if base not in SPECTRA or kind not in ("", "diag", "dplr"):
        names = [*HIPPO, *SPECTRA, *MIXTURES, *(f"dplr-{s}" for s in SPECTRA)]
        raise ValueError(f"no init {name!r}: {nearest(name, names)}")
    Lambda = torch.stack([_spectrum(base, N // 2, options) for _ in range(copies)])
    B = _input(base, Lambda, options)
    P = torch.zeros(rank, copies, N // 2, dtype=torch.complex128)
    if kind == "dplr":
        P = torch.randn_like(P) * options.P_scale
    V = torch.eye(N, N // 2, dtype=torch.complex128).expand(copies, -1, -1)
    return System(Lambda, P, B, V)


def _spectrum(base: str, n: int, options: InitOptions) -> Tensor:
    re, im = spectrum(base, n)
    if options.real_random:
        re = torch.rand(n, dtype=re.dtype)
    if options.imag_random:
        im = spectrum(base, n)[1] if base == "rand" else _random_imag(base, n)
    return _scaled(torch.complex(-re, -im), options)


def _scaled(Lambda: Tensor, options: InitOptions) -> Tensor:
    return torch.complex(Lambda.real * options.real_scale, Lambda.imag * options.imag_scale)


def _random_imag(base: str, n: int) -> Tensor:
    """The spectrum's formula at positions drawn from U[0, n] instead of 0, 1, .., n - 1."""
    k = torch.rand(n, dtype=torch.float64) * n
    formulas = {
        "lin": math.pi * k,
        "inv": 2 * n / math.pi * (2 * n / (2 * k + 1) - 1),
        "inv2": 2 * n / math.pi * (2 * n / (k + 1) - 1),
        "quad": (1 + 2 * k) ** 2 / math.pi,
        "real": torch.zeros_like(k),
    }
    if base not in formulas:
        raise ValueError(f"imag_random has no meaning for the spectrum {base!r}.")
    return formulas[base]


def _input(base: str, Lambda: Tensor, options: InitOptions) -> Tensor:
    n = Lambda.shape[-1]
    k = torch.arange(n, dtype=torch.float64)
    turn = torch.polar(torch.ones_like(k), math.pi * k / n).expand_as(Lambda)
    kind = "legs" if base == "legs" and options.B_init == "constant" else options.B_init
    if kind == "legs":
        hippo_B = nplr("legs", 2 * n)[2]
        B = torch.complex(hippo_B.real, hippo_B.imag.clamp(-B_CLIP, B_CLIP)).expand_as(Lambda)
    elif kind == "random":
        B = torch.randn_like(Lambda)
    elif kind == "alternating":
        B = ((-1.0) ** k).to(Lambda.dtype).expand_as(Lambda)
    elif kind == "unit-cw":
        B = turn.conj().resolve_conj()
    elif kind == "unit-ccw":
        B = turn
    else:
        B = torch.ones_like(Lambda)
    B = B * options.B_scale
    if options.normalize:
        # White noise then gives the state unit variance.
        zeta = 2 * (B / Lambda).abs().square().sum(-1, keepdim=True)
        B = B / zeta.sqrt()
    return B


def _random(N: int, copies: int, rank: int, options: InitOptions) -> System:
    """A = randn / N: as a dense matrix it has no low-rank form, so its own eigenvalues are kept."""
    matrices = torch.randn(copies, N, N, dtype=torch.float64) / N - 0.5 * torch.eye(
        N, dtype=torch.float64
    )
    values = torch.linalg.eigvals(matrices)
    Lambda = torch.stack([v[v.imag.argsort()][: N // 2] for v in values])
    Lambda = _scaled(torch.complex(Lambda.real, -Lambda.imag.abs()), options)
    zeros = torch.zeros(rank, copies, N // 2, dtype=torch.complex128)
    V = torch.eye(N, N // 2, dtype=torch.complex128).expand(copies, -1, -1)
    return System(Lambda, zeros, torch.randn_like(Lambda), V)
