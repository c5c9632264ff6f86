"""Weights of the reference implementations in our modules: build a model, then load into it.

Every loader checks that each array has a place and each parameter an array, by shape, and says by
name what does not fit. Outputs then agree to rounding (1e-6 in float32).
"""

from s4core.convert.arrays import ConversionError
from s4core.convert.s4 import load_s4_backbone, load_s4_block, load_s4_model, load_s4d_layer

__all__ = [
    "ConversionError",
    "load_s4_backbone",
    "load_s4_block",
    "load_s4_model",
    "load_s4d_layer",
]
