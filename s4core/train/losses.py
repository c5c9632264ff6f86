"""The loss of each kind of target, summed over what counts: padding and ignored labels do not."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from s4core.config import TaskShape

ValueLoss = Literal["mse", "mae", "huber"]

# A class target with this value has no say (torch's own convention).
IGNORE = -100


def valid_pairs(
    output: Tensor, y: Tensor, lengths: Tensor | None, *, shape: TaskShape
) -> tuple[Tensor, Tensor]:
    """Line up predictions and targets: (M, d_output) with (M,) classes or (M, d_output) values.

    Of step targets only the first lengths[b] steps of row b are kept, and of those only the ones
    whose class is not IGNORE and whose values are not NaN.
    Raises ValueError if output and y do not fit each other.
    """
    by_step = shape.target.startswith("step")
    if by_step and lengths is not None:
        steps = torch.arange(output.shape[1], device=output.device)
        mask = steps < lengths[:, None]
        output, y = output[mask], y[mask]
    output = output.reshape(-1, output.shape[-1]).float()
    y = y.reshape(-1) if shape.target.endswith("class") else y.reshape(-1, output.shape[-1])
    if output.shape[0] != y.shape[0]:
        raise ValueError(
            f"{output.shape[0]} predictions do not fit {y.shape[0]} targets "
            f"({shape.target}, d_output {shape.d_output})."
        )
    if by_step:
        keep = (y != IGNORE) if shape.target.endswith("class") else ~y.isnan().any(-1)
        output, y = output[keep], y[keep]
    return output, y


def loss_sum(
    output: Tensor,
    y: Tensor,
    *,
    label_smoothing: float = 0.0,
    value_loss: ValueLoss = "mse",
) -> Tensor:
    """Sum the loss over the M rows of `valid_pairs`; of values the mean over d_output is taken."""
    if not y.is_floating_point():
        return F.cross_entropy(output, y, reduction="sum", label_smoothing=label_smoothing)
    if value_loss == "mse":
        losses = F.mse_loss(output, y, reduction="none")
    elif value_loss == "mae":
        losses = F.l1_loss(output, y, reduction="none")
    else:
        losses = F.huber_loss(output, y, reduction="none")
    return losses.mean(-1).sum()
