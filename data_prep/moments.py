"""Mean and deviation over any rows for nothing: the sums of each row are stored beside it."""

from __future__ import annotations

import numpy as np

from data_prep.arrow import Column, Part


def sum_columns(channels: int) -> dict[str, Column]:
    """Return the columns that `row_sums` fills."""
    column = Column("float64", (channels,))
    return {"sum": column, "squares": column}


def row_sums(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return a row's sums over its steps, of values (steps, channels)."""
    values = values.astype(np.float64)
    return {"sum": values.sum(axis=0), "squares": np.square(values).sum(axis=0)}


def moments(part: Part, rows: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each channel's mean and deviation (unbiased) over some rows, `steps` steps in all."""
    mean = part.gather("sum", rows).sum(axis=0) / steps
    squares = part.gather("squares", rows).sum(axis=0)
    variance: np.ndarray = np.maximum(squares - steps * mean**2, 0) / max(steps - 1, 1)
    return mean, np.sqrt(variance)
