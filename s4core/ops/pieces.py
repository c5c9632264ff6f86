"""A batch of sequences in pieces of time that stay in cache, copied to and from plain matrices.

A piece of (B, L, H) becomes one contiguous matrix of B T rows, with channels or time innermost as
the sequence itself has them: one large product instead of B small ones, and no rows that lie a
power of two apart, which a cache cannot hold together.
"""

from __future__ import annotations

from ..shapes import Tensor
from .interleaved import from_interleaved
from .scan import previous
from .vandermonde import split_length

# Rows in a piece on a CPU: with 128 to 512 numbers each they fit into its second-level cache.
ROWS = 2048
# Numbers between the ends of two rows with time innermost, so that they are not aligned.
GAP = 16


class Pieces:
    """The pieces of sequences like u (B, L, H): `block` steps or a multiple, then the rest.

    On a GPU, which has no use for a cache of this size, there is one piece.
    """

    def __init__(self, u: Tensor) -> None:
        self.batch, self.length = u.shape[:2]
        self.time_innermost = u.stride(1) == 1 and u.stride(2) != 1
        steps = self.length if u.device.type != "cpu" else max(64, ROWS // self.batch)
        self.block = split_length(min(steps, self.length))[0]
        self._steps = max(self.block, steps // self.block * self.block)

    def in_order(self, *, reverse: bool = False) -> list[slice]:
        """The pieces as slices of time, the last one first if `reverse`."""
        whole = self.length // self.block * self.block
        pieces = [
            slice(start, min(start + self._steps, whole)) for start in range(0, whole, self._steps)
        ]
        if whole < self.length:
            pieces.append(slice(whole, self.length))
        return pieces[::-1] if reverse else pieces

    def beside(self, piece: slice, *, after: bool) -> slice | None:
        """The piece before or after this one."""
        pieces = self.in_order()
        i = pieces.index(piece) + (1 if after else -1)
        return pieces[i] if 0 <= i < len(pieces) else None

    @property
    def longest_rows(self) -> int:
        """Rows of the longest piece."""
        return self.batch * min(self._steps, self.length)

    def buffer(self, like: Tensor) -> Tensor:
        """Room for a piece of `like` (B, L, H) in its own order of memory."""
        rows, H = self.longest_rows, like.shape[2]
        return like.new_empty(H, rows + GAP) if self.time_innermost else like.new_empty(rows, H)

    def matrix(self, room: Tensor, piece: slice) -> Tensor:
        """The part of a buffer that `piece` needs, (B T, H)."""
        rows = self.batch * (piece.stop - piece.start)
        return room[:, :rows].t() if self.time_innermost else room[:rows]

    def load(self, x: Tensor, piece: slice, room: Tensor) -> Tensor:
        """Copy `piece` of x (B, L, H) into a buffer; the matrix (B T, H)."""
        matrix = self.matrix(room, piece)
        self.steps(matrix).copy_(x[:, piece])
        return matrix

    def store(self, matrix: Tensor, x: Tensor, piece: slice) -> None:
        """The inverse of `load`."""
        x[:, piece] = self.steps(matrix)

    def rows(self, piece: slice) -> slice:
        """Where the rows of `piece` stand in a matrix of B L rows, piece after piece."""
        return slice(self.batch * piece.start, self.batch * piece.stop)

    def steps(self, matrix: Tensor) -> Tensor:
        """View the rows of a piece, (B T, H), as (B, T, H)."""
        return matrix.view(self.batch, -1, matrix.shape[1])

    def complex_steps(self, matrix: Tensor) -> Tensor:
        """The same of interleaved complex numbers, (B T, 2P) as (B, T, P)."""
        return from_interleaved(self.steps(matrix))

    def blocked(self, x: Tensor, piece: slice) -> Tensor:
        """View the steps of a piece, contiguous (B T, H) or (B, T, H), as (B, c, b, H)."""
        steps = piece.stop - piece.start
        return x.view(self.batch, -1, min(self.block, steps), x.shape[-1])


def starts_of(
    pieces: Pieces, states: Tensor, piece: slice, first: Tensor, *, reverse: bool
) -> Tensor:
    """The states (B, T, P) that the steps of a piece start from; `first` is that of the scan."""
    other = pieces.beside(piece, after=reverse)
    if other is not None:
        first = pieces.complex_steps(states[pieces.rows(other)])[:, 0 if reverse else -1]
    return previous(pieces.complex_steps(states[pieces.rows(piece)]), first, reverse)
