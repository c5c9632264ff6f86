"""Weights of the reference implementations in our modules: build a model, then load into it
(s4torch_* build it too, around a form of system that only they have).

Every loader checks that each array has a place and each parameter an array, by shape, and says by
name what does not fit. Outputs then agree to rounding: within 1e-6 of the largest value in float32
at the lengths of the recorded vectors (tens of steps), 1e-9 in float64.
"""

from s4core.convert.arrays import ConversionError
from s4core.convert.inflate import inflate_s4nd
from s4core.convert.lssl import load_lssl_layer
from s4core.convert.s4 import (
    load_s4_backbone,
    load_s4_block,
    load_s4_layer,
    load_s4_model,
    load_s4d_layer,
    load_s4nd_layer,
)
from s4core.convert.s4torch import s4torch_block, s4torch_layer, s4torch_model
from s4core.convert.s5 import load_s5_layer, load_s5_model

__all__ = [
    "ConversionError",
    "inflate_s4nd",
    "load_lssl_layer",
    "load_s4_backbone",
    "load_s4_block",
    "load_s4_layer",
    "load_s4_model",
    "load_s4d_layer",
    "load_s4nd_layer",
    "load_s5_layer",
    "load_s5_model",
    "s4torch_block",
    "s4torch_layer",
    "s4torch_model",
]
