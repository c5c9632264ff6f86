"""Weights of the official LSSL layer in a block of our lssl model.

The names of the two sides: dl, d, du are our A_lower, A_diag, A_upper; pl, pr, c, b our A_left,
A_right, A_shift, B; a fixed system may come as its matrices A and B. Features and channels are
flattened "(h c)" there and "(c h)" here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from s4core.convert.arrays import Arrays, ConversionError, assign, assign_weight, wanted
from s4core.nn.block import Block
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.dense import DenseSSM
from s4core.ssm.transforms import unconstrained

_PARTS = {
    "d": "A_diag",
    "pl": "A_left",
    "pr": "A_right",
    "c": "A_shift",
    "b": "B",
}
_UNUSED = ("I", "ones", "arange", "tri", "k", "kappa")


def load_lssl_layer(block: Block, state: Mapping[str, Any]) -> None:
    """Load an LSSL layer into a Block without norm and residual (lssl's are around it).

    A fixed system that is kept as A and B must be ours, up to a factor that goes into dt.
    Raises ConversionError otherwise.
    """
    arrays = Arrays(state, ignore=tuple(f"transition.{name}" for name in _UNUSED))
    with arrays.into(wanted(block, Block)):
        _block(block, arrays)


def _block(block: Block, arrays: Arrays) -> None:
    layer = block.mixer
    if not isinstance(layer, SSMLayer) or not isinstance(layer.ssm, DenseSSM):
        raise ConversionError("LSSL weights need a block of an lssl model.")
    system = layer.ssm
    transition = arrays.below("transition.")
    dt = arrays.take("log_dt").double().exp() if "log_dt" in arrays else arrays.take("dt").double()
    if "dl" in transition:
        for theirs, ours in {"dl": "A_lower", "du": "A_upper"}.items():
            # Both ends of the off-diagonals are padded there.
            here = getattr(system, ours)
            shape = (*here.shape[:-1], here.shape[-1] + 2)
            assign(here, transition.take(theirs, shape)[..., 1:-1], theirs)
        for theirs, ours in _PARTS.items():
            assign(getattr(system, ours), transition.take(theirs), theirs)
    else:
        dt = dt * _factor(system, transition.take("A").double(), transition.take("B").double())
    system.forget()
    assign(system.dt, unconstrained(dt.reshape(-1, 1), system.options.dt_transform), "dt")
    assign(system.C, arrays.take("C", system.C.transpose(0, 1).shape).transpose(0, 1), "C")
    assign(layer.D, arrays.take("D", layer.D.t().shape).t(), "D")
    linear = block.output.linear
    if linear is not None:
        channels, features = layer.D.shape
        weight = arrays.take("output_linear.weight", linear.weight.shape).unflatten(
            1, (features, channels)
        )
        assign_weight(linear, weight.transpose(1, 2).flatten(1), "output_linear.weight")
        assign(linear.bias, arrays.take("output_linear.bias"), "output_linear.bias")


def _factor(system: DenseSSM, A: Tensor, B: Tensor) -> Tensor:
    """The number s with A = s A_ours and B = s B_ours."""
    ours, b = system.system()
    factor = (A * ours).sum() / ours.square().sum()
    near = 1e-5 * ours.abs().max() * factor
    if (A - factor * ours).abs().max() > near or (B - factor * b).abs().max() > near:
        raise ConversionError(
            f"the fixed matrices are not those of transition {system.options.transition!r} "
            "(with noise 0)."
        )
    return factor
