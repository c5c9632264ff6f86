"""A trained model as a function of numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from s4core.config import TaskShape, from_mapping
from s4core.train.fit import choose_device, load_model

Array = np.ndarray[Any, Any]


class Predictor:
    """The model kept in a training folder; raises CheckpointError.

    needs_dt: whether calls must give the times of irregular steps.
    device: None takes a GPU if there is one. batch_size: examples, or pairs of them, at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        checkpoint: str = "best",
        device: str | None = None,
        batch_size: int = 100,
    ) -> None:
        self._device = choose_device(device)
        self._model, made_by = load_model(folder, checkpoint, device=self._device)
        self.shape = from_mapping(TaskShape, made_by["shape"])
        # A model of elsewhere does not say.
        self.needs_dt = bool(getattr(self._model, "needs_dt", False))
        self._batch_size = batch_size

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        dt: ArrayLike | None = None,
        rate: float = 1.0,
    ) -> Array:
        """Scores (B, d_output), or (B, L, d_output) for a target a step, of sequences x.

        x: (B, L, d_input) numbers or (B, L) tokens, as the data set gives them; 2 B rows for a task
        of pairs, the first of each pair in rows 0..B-1. lengths: (B,) of ragged ones; dt: (B, L) of
        irregular ones. rate: their step over that of the training data.
        """
        x = np.asarray(x)
        lengths = None if lengths is None else np.asarray(lengths)
        dt = None if dt is None else np.asarray(dt)
        outputs = []
        with torch.no_grad():
            for rows in self._parts(len(x)):
                part = self._tensor(x[rows])
                if not self.shape.tokens:
                    part = part.float()
                elif not part.is_floating_point():  # numbers are no tokens: the model says so
                    part = part.long()
                n = None if lengths is None else self._tensor(lengths[rows])
                steps = None if dt is None else self._tensor(dt[rows]).float()
                y = self._model(part, lengths=n, rate=rate, dt=steps)
                outputs.append(y.float().cpu().numpy())
        return np.concatenate(outputs)

    def _parts(self, count: int) -> Iterator[Array]:
        """The rows that go through at a time; both documents of a pair go together."""
        if self.shape.pairs and count % 2:
            raise ValueError(f"a task of pairs needs an even number of rows, got {count}.")
        sides = (0, count // 2) if self.shape.pairs else (0,)
        each = count // len(sides)
        for i in range(0, max(1, each), self._batch_size):
            part = np.arange(i, min(i + self._batch_size, each))
            yield np.concatenate([part + side for side in sides])

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array)).to(self._device)
