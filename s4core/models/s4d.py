"""S4D: diagonal state space layers.  Source: arXiv:2206.11893."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.frequency import conv_layer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import ConvOptions
from s4core.nn.ssm_layer import Mode, SSMLayer
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM


@config
class Config(DiagonalOptions, ConvOptions):
    """The fields of a diagonal system and of the stack around it.

    mode: how whole sequences are computed: conv by FFT of the kernel, scan by the recurrence in
        blocks (causal only), auto whichever is faster. They agree to rounding.
    """

    mode: Mode = "auto"

    def __post_init__(self) -> None:
        ConvOptions.__post_init__(self)
        DiagonalOptions.__post_init__(self)
        self.copies(self.d_mixer)
        if self.mode == "scan" and (self.bidirectional or self.sobolev or self.kernel_dropout):
            raise ValueError(
                "mode 'scan' goes forward in time and has no kernel: it needs bidirectional false, "
                f"sobolev 0 and kernel_dropout 0, got {self.bidirectional}, {self.sobolev} and "
                f"{self.kernel_dropout}."
            )


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build S4D for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        system = DiagonalSSM(d_model, config, channels=config.kernels)
        return conv_layer(system, config, mode=config.mode)

    return stack_model(config, shape, make_mixer)
