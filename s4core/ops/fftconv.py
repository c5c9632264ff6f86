"""Long convolution by FFT, one feature block at a time so that spectra stay in cache.

A plain rfft of (B, H, 2L) writes and reads each spectrum from memory four times; blocks of two
megabytes are 2.6 to 4.6 times faster.  Much smaller ones are slower again, because every call of an
FFT plans anew, which takes as long as a dozen rows.  The backward is our own and saves only the
input and the kernel's spectrum.  The kernel is circular, so that a bidirectional one costs no FFT
more.  The FFT length is a pure function of the shape (not timed), so that reruns agree to the bit.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

from ..shapes import Float, Tensor
from .operator import Operator
from .plain import plain_circular_conv
from .precision import full_precision

# Real numbers per spectrum block: 2 MB in float32.
BLOCK = 1 << 19


@full_precision
def fft_conv(
    u: Float[Tensor, "B H L"],
    k: Float[Tensor, " ..."],
    *,
    k_reverse: Float[Tensor, " ..."] | None = None,
) -> Float[Tensor, "B D L"]:
    """Causal convolution y[t] = sum_(s <= t) k[t - s] u[s] of each feature, for each channel.

    k: (H, L') or (C, H, L'), at least as long as u (the rest is ignored).  The result has C * H
    features, channel-major.  With k_reverse (same shape), y[t] has the anticausal sum
    sum_(s > t) k_reverse[s - t - 1] u[s] as well: its first value acts at distance one, as in the
    published bidirectional models.  The result has the higher precision of u and k; half ones are
    computed in float32.  Any strides of u are taken as they are.
    Raises ValueError for shapes that do not fit.
    """
    length = u.shape[-1]
    if k.ndim not in (2, 3) or k.shape[-2:-1] != u.shape[1:2] or k.shape[-1] < length:
        raise ValueError(
            f"a kernel for u of shape {tuple(u.shape)} has {u.shape[1]} features and at least "
            f"{length} steps, got {tuple(k.shape)}."
        )
    back = k if k_reverse is None else k_reverse
    if back.shape[:-1] != k.shape[:-1] or back.shape[-1] < length - 1:
        raise ValueError(
            f"k_reverse wants the shape of k, {tuple(k.shape)}, got {tuple(back.shape)}."
        )
    dtype = functools.reduce(torch.promote_types, (u.dtype, k.dtype, back.dtype))
    if length == 0:
        return u.repeat(1, k.shape[0] if k.ndim == 3 else 1, 1).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    k = k[..., :length].reshape(-1, u.shape[1], length).to(wide)
    n = fft_length(2 * length - 1)
    if k_reverse is not None and length > 1:
        back = back[..., : length - 1].reshape(*k.shape[:-1], -1).to(wide).flip(-1)
        k = torch.cat([k, k.new_zeros(*k.shape[:-1], n - 2 * length + 1), back], -1)
    # Features first, as in the memory of the stack: compiled code makes every tensor contiguous.
    y: Tensor = _circular_conv(u.to(wide).transpose(0, 1), k, n, k.shape[-1])
    return y.flatten(0, 1).transpose(0, 1).to(dtype)


def fft_conv_ref(
    u: Float[Tensor, "B H L"],
    k: Float[Tensor, " ..."],
    *,
    k_reverse: Float[Tensor, " ..."] | None = None,
) -> Float[Tensor, "B D L"]:
    """The same by whole-batch FFTs, with a second convolution for the reverse direction."""
    B, H, L = u.shape
    k = k[..., :L].reshape(-1, H, L)
    n = 2 * L
    product = torch.fft.rfft(u, n=n).unsqueeze(1) * torch.fft.rfft(k, n=n)
    y: Tensor = torch.fft.irfft(product, n=n)[..., :L]
    if k_reverse is not None:
        k = F.pad(k_reverse[..., :L].reshape(-1, H, L), (1, -1))
        flipped = torch.fft.rfft(u.flip(-1), n=n).unsqueeze(1) * torch.fft.rfft(k, n=n)
        y = y + torch.fft.irfft(flipped, n=n)[..., :L].flip(-1)
    return y.flatten(1, 2)


def fft_length(least: int) -> int:
    """The smallest 2^a 3^b 5^c >= least with b <= 2, c <= 3 and, from 32 on, a >= 5.

    Lengths with large prime factors are seven to nine times slower (32001 against 32000).
    """
    if least <= 32:
        return 1 << max(0, least - 1).bit_length()
    sizes = []
    for odd in (m3 * m5 for m3 in (1, 3, 9) for m5 in (1, 5, 25, 125)):
        a = max(5, (-(-least // odd) - 1).bit_length())
        sizes.append(odd << a)
    return min(sizes)


def _forward(u: Tensor, k: Tensor, n: int, k_length: int) -> tuple[Tensor, Tensor]:
    """y[c, h, b] = the first L values of u[h, b] convolved with k[c, h] on a circle of n."""
    y = _like(u, k.shape[0])
    kf = torch.fft.rfft(k, n=n).unsqueeze(2)
    padded = _Padded(u, n)
    for block in _blocks(u, n):
        spectrum = padded.rfft(u[block])
        for c, one in enumerate(kf[:, block]):
            product = spectrum.mul_(one) if c == len(kf) - 1 else spectrum * one
            y[c, block] = torch.fft.irfft(product, n=n)[..., : u.shape[-1]]
    return y, kf


def _backward(dy: Tensor, u: Tensor, kf: Tensor, n: int, k_length: int) -> tuple[Tensor, Tensor]:
    du, dkf = torch.empty_like(u), torch.zeros_like(kf[:, :, 0])
    padded = _Padded(u, n)
    for block in _blocks(u, n):
        spectrum = padded.rfft(u[block]).conj_physical_()
        total = None
        for c, one in enumerate(kf[:, block]):
            g = padded.rfft(dy[c, block])
            torch.sum(spectrum * g, 1, out=dkf[c, block])
            g.mul_(one.conj())
            total = g if total is None else total.add_(g)
        du[block] = torch.fft.irfft(total, n=n)[..., : u.shape[-1]]
    return du, torch.fft.irfft(dkf, n=n)[..., :k_length]


class _Padded:
    """Spectra of blocks of u (H, B, L); on a CPU the zeros that follow are written but once."""

    def __init__(self, u: Tensor, n: int) -> None:
        self.n, self.room = n, None
        if u.device.type == "cpu":
            features = max((block.stop - block.start for block in _blocks(u, n)), default=0)
            self.room = u.new_zeros(features, u.shape[1], n)

    def rfft(self, x: Tensor) -> Tensor:
        """The spectra of x (h, B, L), padded to n."""
        if self.room is not None:
            room = self.room[: len(x)]
            room[..., : x.shape[-1]] = x
            x = room
        spectra: Tensor = torch.fft.rfft(x, n=self.n)
        return spectra


def _like(u: Tensor, channels: int) -> Tensor:
    """An empty (C, H, B, L) with features and batch in memory in the order that they have in u."""
    H, B, L = u.shape
    if u.stride(1) > u.stride(0):
        # Not a view, which nobody might change in place.
        return u.new_empty_strided((channels, H, B, L), (H * L, L, channels * H * L, 1))
    return u.new_empty(channels, H, B, L)


def _blocks(u: Tensor, n: int) -> list[slice]:
    """Slices of features whose spectra fit in cache together; none for an empty batch."""
    H, B, _ = u.shape
    if B == 0:
        return []
    step = max(1, BLOCK // (B * n)) if u.device.type == "cpu" else H
    return [slice(h, min(h + step, H)) for h in range(0, H, step)]


_circular_conv = Operator(
    "circular_conv",
    "Tensor u, Tensor k, SymInt n, SymInt k_length",
    "y, kf",
    keep="u, kf",
    forward=_forward,
    backward=_backward,
    plain=plain_circular_conv,
)
