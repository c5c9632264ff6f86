"""The habits of flax that models published in JAX were trained with."""

from __future__ import annotations

import torch
from torch import nn

from s4core.nn import layout
from s4core.nn.norm import Norm
from s4core.ssm.mimo import TRUNCATED


@torch.no_grad()
def in_flax_form(model: nn.Module) -> None:
    """Draw linear maps as flax does and let batch norms keep the biased variance.

    lecun_normal: a normal cut at two standard deviations, of variance 1 / fan_in; biases 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            sigma = module.in_features**-0.5 / TRUNCATED
            weight = torch.empty_like(module.weight)
            nn.init.trunc_normal_(weight, std=sigma, a=-2.0 * sigma, b=2.0 * sigma)
            layout.set_weight(module, weight)
            if module.bias is not None:
                module.bias.zero_()
        if isinstance(module, Norm):
            module.biased_running_var = True
