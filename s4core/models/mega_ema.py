"""Mega's moving average as the mixer of a stack.  Source: arXiv:2209.10655."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.ema import EmaSystem
from s4core.nn.frequency import conv_layer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import ConvOptions, need_positive
from s4core.nn.ssm_layer import SSMLayer


@config
class Config(ConvOptions):
    """d_state: moving averages of each feature (Mega publishes 2 to 16)."""

    d_state: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "d_state")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build a stack of moving averages for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        system = EmaSystem(d_model, d_state=config.d_state, channels=config.kernels)
        return conv_layer(system, config)

    return stack_model(config, shape, make_mixer)
