"""Pathfinder's snakes, grown cell by cell in compiled code (numba): 1,000 images a second at 32.

A level's two target snakes are begun again, both, whenever either finds no room: 300 to 4,000 times
an image, which is the whole cost. Random numbers are splitmix64, so a shard is the same on every
machine and under every version of numba.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np

_jit: Any = numba.njit(cache=True)

FREE = 0.3  # a cell with less mask than this has room
OVERLAP = 1.8  # two masks may add up to less than this
DRAWS = 3  # ends that are tried for a segment
SEED_ATTEMPTS = 5  # places that are tried for a distractor
TAIL_DRAWS = 3  # angles and cells that are tried for a paddle that must not leave the image
LEAST_ROOM = 0.01  # share of free cells below which no distractor is tried


class Recipe(NamedTuple):
    """The numbers of a level that growing needs; segments: of a target snake."""

    window: int
    padding: int
    seed_distance: int
    distractors: int
    segments: int
    snake_contrast: float
    paddle_contrast: float


@_jit
def uniform(state):  # type: ignore[no-untyped-def]
    """Return a number in [0, 1) and step the state (1,) uint64 (splitmix64)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_jit
def moved(y, x, step):  # type: ignore[no-untyped-def]
    """Return the cell that a step (dy, dx) leads to, rounded up in floats, as published.

    A sum of a small coordinate and almost 0 is rounded up, of a large one it is not: so snakes that
    go straight stray by a pixel near two of the borders, and fewer of them survive.
    """
    return math.ceil(y + step[0]), math.ceil(x + step[1])


@_jit
def paint(picture, cells, count, y, x, contrast):  # type: ignore[no-untyped-def]
    """Raise the pixels of a picture to those of a sparse patch put at (y, x)."""
    side = picture.shape[0]
    for i in range(count):
        row, column = y + int(cells[i, 0]), x + int(cells[i, 1])
        if 0 <= row < side and 0 <= column < side:
            value = cells[i, 2] * contrast
            if value > picture[row, column]:
                picture[row, column] = value


@_jit
def has_room(mask, cells, count, y, x):  # type: ignore[no-untyped-def]
    """Whether a sparse mask at (y, x) overlaps the mask nowhere by OVERLAP or more."""
    side = mask.shape[0]
    for i in range(count):
        row, column = y + int(cells[i, 0]), x + int(cells[i, 1])
        if 0 <= row < side and 0 <= column < side and mask[row, column] + cells[i, 2] >= OVERLAP:
            return False
    return True


@_jit
def weigh(mask, snake, t, weights):  # type: ignore[no-untyped-def]
    """Fill `weights` with how likely each candidate end is; return their sum."""
    side = mask.shape[0]
    total = 0.0
    for i in range(len(t.candidates)):
        weights[i] = 0.0
        wish = t.weights[snake[2], i]
        row, column = snake[0] + t.candidates[i, 0], snake[1] + t.candidates[i, 1]
        if wish <= 0.0 or not (0 <= row < side and 0 <= column < side):
            continue
        most = 0.0
        for j in range(len(t.disk)):
            y, x = row + t.disk[j, 0], column + t.disk[j, 1]
            if 0 <= y < side and 0 <= x < side and mask[y, x] > most:
                most = mask[y, x]
                if most >= 1.0:
                    break
        if most < 1.0:
            weights[i] = wish * (1.0 - most)
            total += weights[i]
    return total


@_jit
def extend(picture, mask, snake, t, contrast, state):  # type: ignore[no-untyped-def]
    """Grow a snake by one segment; False if there is no room.

    snake: (7,) the pivot's y and x, the angle's number, the last paddle's angle and its y and x,
    and whether its mask is still to be committed.
    """
    ahead = snake.copy()
    ahead[0], ahead[1] = moved(snake[0], snake[1], t.pivots[snake[2]])
    weights = np.empty(len(t.candidates))
    total = weigh(mask, ahead, t, weights)
    if total < 1e-4:
        return False
    for _ in range(DRAWS):
        left = uniform(state) * total
        chosen = -1
        for i in range(len(weights)):
            if weights[i] > 0.0:
                chosen = i
                left -= weights[i]
                if left < 0.0:
                    break
        y, x = ahead[0] + t.candidates[chosen, 0], ahead[1] + t.candidates[chosen, 1]
        if has_room(mask, t.masks[chosen], t.mask_counts[chosen], y, x):
            paint(picture, t.lines[chosen], t.line_counts[chosen], y, x, contrast)
            commit(mask, snake, t)
            snake[0], snake[1], snake[2] = ahead[0], ahead[1], chosen
            snake[3], snake[4], snake[5] = chosen, y, x
            return True
    return False


@_jit
def commit(mask, snake, t):  # type: ignore[no-untyped-def]
    """Add the mask of a snake's last segment: one step late, so that it may touch its own end."""
    number = snake[3]
    paint(mask, t.masks[number], t.mask_counts[number], snake[4], snake[5], 1.0)


@_jit
def begin(picture, side, tail_y, tail_x, degree, t, contrast, snake):  # type: ignore[no-untyped-def]
    """Start a snake at its tail; False if its head or pivot would leave the image."""
    head_y, head_x = moved(tail_y, tail_x, t.heads[degree])
    pivot_y, pivot_x = moved(head_y, head_x, t.backs[degree])
    inside = 0 <= head_y < side and 0 <= head_x < side
    if not (inside and 0 <= pivot_y < side and 0 <= pivot_x < side):
        return False
    angle = len(t.candidates) + degree
    paint(picture, t.lines[angle], t.line_counts[angle], tail_y, tail_x, contrast)
    snake[0], snake[1], snake[2] = pivot_y, pivot_x, angle
    snake[3], snake[4], snake[5] = angle, tail_y, tail_x
    return True


@_jit
def free_cells(mask, border, degree, t, found):  # type: ignore[no-untyped-def]
    """List the cells where a seed of this angle has room: none in the border, none outside."""
    side = mask.shape[0]
    count = 0
    cells = t.kernels[degree]
    for y in range(side):
        for x in range(side):
            is_free = True
            for i in range(t.kernel_counts[degree]):
                row, column = y + cells[i, 0], x + cells[i, 1]
                # Below 0 where the kernel leaves the image: no room there either.
                edge = min(row, column, side - 1 - row, side - 1 - column)
                if edge < border or mask[row, column] > FREE:
                    is_free = False
                    break
            if is_free:
                found[count, 0], found[count, 1] = y, x
                count += 1
    return count


@_jit
def frame(mask, padding):  # type: ignore[no-untyped-def]
    """Empty a mask but for its border."""
    mask[:] = 0.0
    side = mask.shape[0]
    mask[:padding], mask[side - padding :] = 1.0, 1.0
    mask[:, :padding], mask[:, side - padding :] = 1.0, 1.0


@_jit
def targets(picture, mask, t, level, seeds, quirk, state, snakes):  # type: ignore[no-untyped-def]
    """Grow the two target snakes; returns the restarts, and their tails in snakes[:, 6:8].

    seeds: the cells and their counts, as `first_seeds` lists them.
    """
    side = mask.shape[0]
    restarts = 0
    contrast = level.snake_contrast * level.paddle_contrast
    while True:
        restarts += 1
        degree = int(uniform(state) * 360)
        if seeds[1][degree] == 0 or (quirk and not t.is_seedable[degree]):
            continue
        cell = seeds[0][degree, int(uniform(state) * seeds[1][degree])]
        picture[:] = 0.0
        frame(mask, level.padding)
        if not begin(picture, side, cell[0], cell[1], degree, t, contrast, snakes[0]):
            continue
        around = math.radians(int(uniform(state) * 360))
        y = int(round(cell[0] + level.seed_distance * math.sin(around)))
        x = int(round(cell[1] + level.seed_distance * math.cos(around)))
        degree = int(uniform(state) * 360)
        if not begin(picture, side, y, x, degree, t, contrast, snakes[1]):
            continue
        snakes[0, 6], snakes[0, 7], snakes[1, 6], snakes[1, 7] = cell[0], cell[1], y, x
        alive = True
        for _ in range(level.segments - 1):
            alive = extend(picture, mask, snakes[0], t, contrast, state)
            alive = alive and extend(picture, mask, snakes[1], t, contrast, state)
            if not alive:
                break
        if alive:
            commit(mask, snakes[1], t)
            return restarts - 1


@_jit
def distractor(picture, mask, t, level, segments, quirk, state, found):  # type: ignore[no-untyped-def]
    """Try once to grow a distractor into picture and mask; False leaves them half changed."""
    side = mask.shape[0]
    if (mask <= FREE).sum() < LEAST_ROOM * side * side:
        return False
    snake = np.zeros(8, np.int64)
    for _ in range(TAIL_DRAWS):
        degree = int(uniform(state) * 360)
        count = 0 if quirk and not t.is_seedable[degree] else free_cells(mask, 1, degree, t, found)
        if count == 0:
            return False
        cell = found[int(uniform(state) * count)]
        if begin(picture, side, cell[0], cell[1], degree, t, level.snake_contrast, snake):
            for _ in range(segments - 1):
                if not extend(picture, mask, snake, t, level.snake_contrast, state):
                    return False
            commit(mask, snake, t)
            return True
    return False


@_jit
def image(t, level, seeds, quirk, state):  # type: ignore[no-untyped-def]
    """Draw one image: (pixels uint8 (W, W), label, distractors placed, restarts, distance)."""
    side = level.window
    picture = np.zeros((side, side))
    mask = np.zeros((side, side))
    snakes = np.zeros((2, 8), np.int64)
    restarts = targets(picture, mask, t, level, seeds, quirk, state, snakes)
    found = np.empty((side * side, 2), np.int64)
    placed = 0
    for _ in range(level.distractors):
        for _ in range(SEED_ATTEMPTS):
            kept_picture, kept_mask = picture.copy(), mask.copy()
            if distractor(picture, mask, t, level, level.segments // 3, quirk, state, found):
                placed += 1
                break
            picture[:], mask[:] = kept_picture, kept_mask
    label = int(uniform(state) * 2)
    one = int(uniform(state) * 2)
    other = one if label == 1 else 1 - one
    ends = (snakes[one, 6], snakes[one, 7], snakes[other, 4], snakes[other, 5])
    paint(picture, t.marker, len(t.marker), ends[0], ends[1], 1.0)
    paint(picture, t.marker, len(t.marker), ends[2], ends[3], 1.0)
    low, high = picture.min(), picture.max()
    pixels = ((picture - low) * (255.0 / (high - low)) + 0.5).astype(np.uint8)
    distance = math.sqrt(float((ends[0] - ends[2]) ** 2 + (ends[1] - ends[3]) ** 2))
    return pixels, label, placed, restarts, distance


def first_seeds(t: Any, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Return, for every whole degree, the cells (360, cells, 2) where a first snake may begin."""
    mask = np.zeros((recipe.window, recipe.window))
    frame(mask, recipe.padding)
    found = np.empty((recipe.window**2, 2), np.int64)
    counts = np.zeros(360, np.int64)
    cells = []
    for degree in range(360):
        counts[degree] = free_cells(mask, 2 * recipe.seed_distance, degree, t, found)
        cells.append(found[: counts[degree]].astype(np.int16))
    width = max(1, int(counts.max()))
    padded = [np.pad(c, ((0, width - len(c)), (0, 0))) for c in cells]
    return np.array(padded), counts
