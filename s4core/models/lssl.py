"""LSSL: linear state space layers with a dense matrix.  Source: arXiv:2110.13985."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.activation import FinalName
from s4core.nn.frequency import conv_layer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import ConvOptions
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.dense import DenseOptions, DenseSSM


@config
class Config(DenseOptions, ConvOptions):
    """The fields of a dense system and of the stack around it."""

    final_act: FinalName = "linear"

    def __post_init__(self) -> None:
        ConvOptions.__post_init__(self)
        DenseOptions.__post_init__(self)


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build LSSL for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        return conv_layer(DenseSSM(d_model, config, channels=config.kernels), config)

    return stack_model(config, shape, make_mixer)
