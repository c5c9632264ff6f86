"""SSD: state space dual blocks of Mamba-2.  Source: arXiv:2405.21060."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.activation import ActivationName, FinalName
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.norm import NormName
from s4core.nn.options import StackOptions, need_positive
from s4core.nn.ssd import SSD, check_heads
from s4core.ssm.transforms import need_dt_range


@config
class Config(StackOptions):
    """The published block: RMS norm, the mixer with its own gate and norm, the sum.

    d_state: states of each feature. d_head: features that share a decay (expand * d_model must be a
    multiple). n_groups: groups of heads that share B and C. d_conv: taps of the mixer's filter.
    """

    norm: NormName = "rms"
    activation: ActivationName = "none"
    final_act: FinalName = "none"
    d_state: int = 64
    d_head: int = 16
    n_groups: int = 1
    expand: int = 2
    d_conv: int = 4
    dt_min: float = 0.001
    dt_max: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "d_state", "d_head", "n_groups", "expand", "d_conv")
        check_heads(self.expand * self.d_mixer, self.d_head, self.n_groups)
        need_dt_range(self.dt_min, self.dt_max)


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build Mamba-2 for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSD:
        return SSD(
            d_model,
            d_state=config.d_state,
            d_head=config.d_head,
            n_groups=config.n_groups,
            expand=config.expand,
            d_conv=config.d_conv,
            dt_min=config.dt_min,
            dt_max=config.dt_max,
        )

    return stack_model(config, shape, make_mixer)
