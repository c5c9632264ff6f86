"""SaShiMi: tiers of state space layers for long raw signals.  Source: arXiv:2202.09729.

Causal, it generates one step at a time; with bidirectional layers it is the network of diffusion
models (DiffWave with SaShiMi).
"""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.interpolate import Interpolated
from s4core.nn.model import SequenceModel
from s4core.nn.ssm_layer import SSMLayer
from s4core.nn.systems import SystemOptions, make_layer
from s4core.nn.unet import UNet


@config
class Config(SystemOptions):
    """n_layers: layers of each tier, on each side. pool: strides from tier to tier, () for none.

    expand: growth of the channels from tier to tier. ff: width of the feed-forward blocks.
    ff_center: that width in the innermost tier, null is ff.
    unet: layers on the way down too, and a skip around each of them.
    interp: only every so many steps (a power of two) go through the tiers, further layers fill in
        the others and look ahead (no step); 0 for none.
    """

    n_layers: int = 8
    ff: int = 2
    pool: tuple[int, ...] = (4, 4)
    expand: int = 2
    ff_center: int | None = None
    unet: bool = False
    interp: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(stride < 2 for stride in self.pool):
            raise ValueError(f"need strides >= 2 in pool, got {list(self.pool)}.")
        if self.interp < 0 or (self.ff_center or 0) < 0:
            raise ValueError(
                f"need interp >= 0 and ff_center >= 0, got {self.interp}, {self.ff_center}."
            )
        if self.interp == 1 or self.interp & (self.interp - 1):
            raise ValueError(f"need interp to be 0 or a power of two >= 2, got {self.interp}.")
        if self.expand < 1:
            raise ValueError(f"need expand >= 1, got {self.expand}.")
        if self.block_pool != "none":
            raise ValueError(f"sashimi pools by its tiers: got block_pool={self.block_pool!r}.")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build SaShiMi for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        return make_layer(config, d_model, l_max)

    net = UNet(
        config,
        l_max=-(-shape.length // max(1, config.interp)),
        pools=config.pool,
        expand=config.expand,
        unet=config.unet,
        make_mixer=make_mixer,
        ff_center=config.ff_center,
    )
    if config.interp == 0:
        return SequenceModel(config, shape, net)
    whole = Interpolated(
        net, config, factor=config.interp, l_max=shape.length, make_mixer=make_mixer
    )
    return SequenceModel(config, shape, whole)
