"""The model that MLflow serves: loaded as code, so that nothing is pickled.

MLflow runs this file when a registered model is loaded; it needs torch, numpy and the package
`s4core`, which travels with the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Scores of sequences, from best.pt of a trial."""

    def load_context(self, context: Any) -> None:
        """Load the weights."""
        from s4core.predict import Predictor

        self._predictor = Predictor(Path(context.artifacts["checkpoint"]).parent)

    # A plain array: of it MLflow makes no signature (the saved model has one) and no warning.
    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Scores (B, ...) of sequences (B, L, d_input), or (B, L) of tokens."""
        x = np.asarray(model_input)
        lengths = np.full(len(x), x.shape[1]) if self._predictor.shape.ragged else None
        return self._predictor(x, lengths=lengths)


mlflow.models.set_model(ServedModel())
