"""S6: selective state space blocks of Mamba-1.  Source: arXiv:2312.00752."""

from __future__ import annotations

import math

from s4core.config import TaskShape, config
from s4core.nn.activation import ActivationName, FinalName
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.norm import NormName
from s4core.nn.options import StackOptions, need_positive
from s4core.nn.s6 import S6
from s4core.ssm.transforms import need_dt_range


@config
class Config(StackOptions):
    """The published block: RMS norm, the mixer with its own gate, the sum.

    d_state: states of each feature. expand: the mixer is expand * d_model wide. d_conv: taps of its
    filter. dt_rank: 0 is d_model / 16, rounded up. dt_min, dt_max: range of the steps at the start.
    """

    norm: NormName = "rms"
    activation: ActivationName = "none"
    final_act: FinalName = "none"
    d_state: int = 16
    expand: int = 2
    d_conv: int = 4
    dt_rank: int = 0
    dt_min: float = 0.001
    dt_max: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "d_state", "expand", "d_conv")
        if self.dt_rank < 0:
            raise ValueError(f"need dt_rank >= 0, got {self.dt_rank}.")
        need_dt_range(self.dt_min, self.dt_max)


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build Mamba-1 for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> S6:
        return S6(
            d_model,
            d_state=config.d_state,
            expand=config.expand,
            d_conv=config.d_conv,
            dt_rank=config.dt_rank or math.ceil(d_model / 16),
            dt_min=config.dt_min,
            dt_max=config.dt_max,
        )

    return stack_model(config, shape, make_mixer)
