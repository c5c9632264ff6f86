"""LRU: linear recurrent units in the S5 block.  Source: arXiv:2303.06349."""

from __future__ import annotations

import math

from s4core.config import TaskShape, config
from s4core.nn.activation import ActivationName, FinalName
from s4core.nn.flax_form import in_flax_form
from s4core.nn.lru import LRU
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.norm import NormName
from s4core.nn.options import StackOptions, need_positive


@config
class Config(StackOptions):
    """d_state: complex states of a layer. r_min, r_max: range of |a| at the start.

    max_phase: its largest phase in radians (2 pi; pi / 10 is published for Path-X).
    """

    norm: NormName = "batch"
    norm_momentum: float = 0.05
    final_norm: bool = False
    activation: ActivationName = "gelu_tanh"
    final_act: FinalName = "glu"
    d_state: int = 128
    r_min: float = 0.0
    r_max: float = 0.99
    max_phase: float = 2.0 * math.pi

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "d_state")
        if not 0.0 <= self.r_min < self.r_max < 1.0:
            raise ValueError(
                f"need 0 <= r_min < r_max < 1, got r_min={self.r_min}, r_max={self.r_max}."
            )
        if not 0.0 < self.max_phase <= 2.0 * math.pi:
            raise ValueError(f"need 0 < max_phase <= 2 pi, got {self.max_phase}.")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build LRU for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> LRU:
        return LRU(
            d_model,
            d_state=config.d_state,
            r_min=config.r_min,
            r_max=config.r_max,
            max_phase=config.max_phase,
        )

    model = stack_model(config, shape, make_mixer)
    in_flax_form(model)
    return model
