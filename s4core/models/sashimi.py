"""SaShiMi: tiers of state space layers for long raw signals.  Source: arXiv:2202.09729.

Causal, it generates one step at a time; with bidirectional layers it is the network of diffusion
models (DiffWave with SaShiMi).
"""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.model import SequenceModel
from s4core.nn.systems import SystemOptions, make_layer
from s4core.nn.unet import UNet


@config
class Config(SystemOptions):
    """n_layers: layers of each tier, on each side. pool: strides from tier to tier, () for none.

    expand: growth of the channels from tier to tier. ff: width of the feed-forward blocks.
    unet: layers on the way down too, and a skip around each of them.
    """

    n_layers: int = 8
    ff: int = 2
    pool: tuple[int, ...] = (4, 4)
    expand: int = 2
    unet: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(stride < 2 for stride in self.pool):
            raise ValueError(f"need strides >= 2 in pool, got {list(self.pool)}.")
        if self.expand < 1:
            raise ValueError(f"need expand >= 1, got {self.expand}.")
        if self.block_pool != "none":
            raise ValueError(f"sashimi pools by its tiers: got block_pool={self.block_pool!r}.")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build SaShiMi for a task; ValueError says what cannot be."""
    backbone = UNet(
        config,
        l_max=shape.length,
        pools=config.pool,
        expand=config.expand,
        unet=config.unet,
        make_mixer=lambda d_model, l_max: make_layer(config, d_model, l_max),
    )
    return SequenceModel(config, shape, backbone)
