"""Pathfinder's drawings, made once: every paddle at every angle that can occur, as sparse patches.

All angles of a level are known in advance: seeds take whole degrees, and a snake's next segment
ends on one of some 20 to 60 cells around its pivot. So drawing, and testing for room, are look-ups.
Rows are y, columns x; an angle t moves by (sin t, cos t).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SCALE = 2  # antialias_scale of the published recipe
DEGREES = 360


class Level(NamedTuple):
    """The published parameters of one resolution (the docstring of the LRA's pathfinder.py)."""

    window: int
    padding: int
    margins: tuple[int, ...]  # one is drawn for each image
    seed_distance: int
    marker_radius: float
    paddle_length: int
    thickness: float
    continuity: float
    distractors: int
    snake_contrast: float
    paddle_contrast: float


LEVELS = {
    32: Level(32, 1, (1,), 7, 1.5, 2, 0.5, 1.0, 5, 2.0, 0.75),
    64: Level(64, 1, (1,), 12, 2.5, 5, 1.0, 1.8, 5, 0.8, 1.0),
    128: Level(128, 1, (2, 3), 20, 3.0, 5, 1.5, 1.8, 8, 0.9, 1.0),
    256: Level(256, 22, (3,), 27, 5.0, 5, 2.0, 1.8, 7, 1.0, 1.0),
}
# Issue 38 of the Long Range Arena: nearer to the released Path-X images than its docstring.
COMMUNITY = LEVELS[128]._replace(distractors=17, snake_contrast=0.767)


class Tables(NamedTuple):
    """What the generator looks up, for one margin.

    Angles 0 .. n - 1 are those from a pivot to candidate n; n .. n + 359 are whole degrees, from
    -180. Sparse patches are (angle, cell, 3): y, x and value, with `counts` cells each.
    """

    candidates: np.ndarray  # (n, 2) offsets of a segment's end from its pivot
    pivots: np.ndarray  # (n + 360, 2) float steps from a pivot to the next one
    heads: np.ndarray  # (360, 2) float steps from a seed's tail to its head
    backs: np.ndarray  # (360, 2) float steps from a seed's head to its pivot
    weights: np.ndarray  # (n + 360, n) how likely a turn is, before looking for room
    lines: np.ndarray  # (n + 360, cells, 3) bright pixels, drawn from the start of a paddle
    line_counts: np.ndarray
    masks: np.ndarray  # (n + 360, cells, 3) the same, widened by the margin
    mask_counts: np.ndarray
    kernels: np.ndarray  # (360, cells, 2) cells that must be free around a seed's tail
    kernel_counts: np.ndarray
    is_seedable: np.ndarray  # (360,) whether the published border handling finds any place
    disk: np.ndarray  # (cells, 2) the margin's disk
    marker: np.ndarray  # (cells, 3) the marker


@functools.cache
def tables(level: Level, margin: int) -> Tables:
    """Make the tables of a level and a margin (some 0.1 s)."""
    length = level.paddle_length
    radius = length + margin
    angles = np.arange(0, 2 * np.pi, 1 / radius)
    ends = np.floor(radius * np.stack([np.sin(angles), np.cos(angles)], axis=1) + 1e-9)
    candidates = np.unique(ends.astype(np.int64), axis=0)
    toward = np.arctan2(candidates[:, 0], candidates[:, 1])
    degrees = np.deg2rad(np.arange(-180, 180))
    every = np.concatenate([toward, degrees])
    turn = np.abs((every[:, None] - toward[None] + np.pi) % (2 * np.pi) - np.pi)
    weights = np.cos(np.minimum(turn * level.continuity, np.pi / 2)) ** 2
    # A grown segment is drawn from its far end back to the pivot, a seed from its tail onwards.
    drawn = np.concatenate([_turned(toward), degrees])
    patches = [_paddle(t, length, level.thickness, margin) for t in drawn]
    lines, line_counts = _sparse([line for line, _ in patches])
    masks, mask_counts = _sparse([mask for _, mask in patches])
    kernels = [_kernel(mask, radius) for _, mask in patches[len(toward) :]]
    width = max(len(k) for k in kernels)
    return Tables(
        candidates=candidates,
        pivots=_steps(every, length + 2 * margin),
        heads=_steps(degrees, length),
        backs=_steps(_turned(degrees), radius),
        weights=weights,
        lines=lines,
        line_counts=line_counts,
        masks=masks,
        mask_counts=mask_counts,
        kernels=np.array([np.pad(k, ((0, width - len(k)), (0, 0))) for k in kernels]),
        kernel_counts=np.array([len(k) for k in kernels]),
        is_seedable=np.array([_fits_every_corner(k) for k in kernels]),
        disk=_disk(margin),
        marker=_sparse([_marker(level.marker_radius)])[0][0],
    )


def _steps(angles: np.ndarray, distance: float) -> np.ndarray:
    """The (dy, dx) of moves, not yet rounded: see `_snakes.moved`."""
    return np.array([(distance * math.sin(t), distance * math.cos(t)) for t in angles])


def _turned(angles: np.ndarray) -> np.ndarray:
    """The opposite angles, within [-pi, pi)."""
    return np.where(angles < 0, angles + np.pi, angles - np.pi)


def _disk(radius: float) -> np.ndarray:
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.argwhere(y**2 + x**2 <= radius**2) - reach


def _shrink(big: np.ndarray, side: int) -> np.ndarray:
    """Resize an 8-bit picture by Lanczos, to values in [0, 1].

    In float64: whether two masks add up to less than 1.8 (as 204 / 255 and 1 do not) depends on it.
    """
    small = Image.fromarray(big).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float64) / 255


def _paddle(
    angle: float, length: int, thickness: float, margin: int
) -> tuple[np.ndarray, np.ndarray]:
    """The line and the mask of a paddle that starts in the middle of its patch."""
    reach = length + math.ceil(thickness) + margin
    side = 2 * reach * SCALE + 1
    middle = reach * SCALE
    dy, dx = _steps(np.array([angle]), length * SCALE)[0]
    canvas = Image.new("L", (side, side))
    width = max(1, round(thickness * SCALE))
    ends = (middle, middle, math.ceil(middle + dx), math.ceil(middle + dy))
    ImageDraw.Draw(canvas).line(ends, fill=255, width=width)
    big = np.array(canvas)
    return _shrink(big, 2 * reach + 1), _shrink(_widen(big, margin * SCALE), 2 * reach + 1)


def _widen(picture: np.ndarray, radius: int) -> np.ndarray:
    """Dilate a picture by a disk."""
    padded = np.pad(picture, radius)
    rows, columns = picture.shape
    shifts = [
        padded[radius + y : radius + y + rows, radius + x : radius + x + columns]
        for y, x in _disk(radius)
    ]
    widest: np.ndarray = np.maximum.reduce(shifts)
    return widest


def _marker(radius: float) -> np.ndarray:
    """A disc, drawn on a canvas of twice the size with room for the filter's ringing."""
    reach = math.ceil(radius) + 4
    y, x = np.mgrid[: 2 * reach * SCALE, : 2 * reach * SCALE] - reach * SCALE
    big = np.where(y**2 + x**2 <= (radius * SCALE) ** 2, 255, 0).astype(np.uint8)
    return _shrink(big, 2 * reach)


def _sparse(patches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Turn square patches into lists of (y, x, value) around their middles, of one length."""
    cells = []
    for patch in patches:
        places = np.argwhere(patch > 0)
        values = patch[tuple(places.T)][:, None]
        cells.append(np.concatenate([places - len(patch) // 2, values], axis=1))
    width = max(len(c) for c in cells)
    padded = np.array([np.pad(c, ((0, width - len(c)), (0, 0))) for c in cells])
    return padded, np.array([len(c) for c in cells])


def _kernel(mask: np.ndarray, radius: int) -> np.ndarray:
    """The cells that must be free for a seed: where its mask is full, one pixel right and below."""
    places = np.argwhere(mask == 1.0) - len(mask) // 2 + 1
    return places[(np.abs(places) <= radius).all(axis=1)]


def _fits_every_corner(kernel: np.ndarray) -> bool:
    """Whether, in each corner of the image, some cell of the kernel lies inside.

    Where none does, the published code reads a border value of its dilation, takes it for a fault,
    and gives the seed up.
    """
    corners = [kernel * (sy, sx) for sy in (1, -1) for sx in (1, -1)]
    return all(bool((corner >= 0).all(axis=1).any()) for corner in corners)
