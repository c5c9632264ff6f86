"""A trained model as a function of numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from s4core.config import TaskShape, from_mapping
from s4core.train.fit import choose_device, load_model

Array = np.ndarray[Any, Any]


class Predictor:
    """The model kept in a training folder; raises CheckpointError.

    device: None takes a GPU if there is one. batch_size: examples that go through at a time.
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
        self._batch_size = batch_size

    def __call__(self, x: Array, *, lengths: Array | None = None, rate: float = 1.0) -> Array:
        """Scores (B, d_output), or (B, L, d_output) for a target a step, of sequences x.

        x: (B, L, d_input) numbers or (B, L) tokens, as the data set gives them; lengths (B,) of
        ragged ones. rate: their step over that of the training data.
        """
        outputs = []
        with torch.no_grad():
            for i in range(0, len(x), self._batch_size):
                part = torch.as_tensor(np.ascontiguousarray(x[i : i + self._batch_size]))
                part = part.to(self._device, torch.long if self.shape.tokens else torch.float32)
                n = None if lengths is None else torch.as_tensor(lengths[i : i + self._batch_size])
                n = None if n is None else n.to(self._device)
                outputs.append(self._model(part, lengths=n, rate=rate).float().cpu().numpy())
        return np.concatenate(outputs)
