"""S5: one multi-input multi-output system a layer, by a scan.  Source: arXiv:2208.04933."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.activation import ActivationName, FinalName
from s4core.nn.flax_form import in_flax_form
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.norm import NormName
from s4core.nn.options import StackOptions
from s4core.ssm.mimo import MimoOptions, MimoSSM


@config
class Config(MimoOptions, StackOptions):
    """The published block; its activations are final_act glu (full_glu), half_glu1, half_glu2.

    It takes irregular steps. norm_eps is 1e-5 for its batch norm and 1e-6 for its layer norm.
    """

    norm: NormName = "batch"
    norm_momentum: float = 0.05
    final_norm: bool = False
    activation: ActivationName = "gelu_tanh"
    final_act: FinalName = "half_glu1"

    def __post_init__(self) -> None:
        StackOptions.__post_init__(self)
        MimoOptions.__post_init__(self)


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build S5 for a task; ValueError says what cannot be."""
    model = stack_model(config, shape, lambda d_model, l_max: MimoSSM(d_model, config))
    in_flax_form(model)
    return model
