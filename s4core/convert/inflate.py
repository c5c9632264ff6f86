"""S4ND's inflation: what was learned on images as the start of a model of videos."""

from __future__ import annotations

import re

import torch

from s4core.convert.arrays import ConversionError
from s4core.nn.model import SequenceModel
from s4core.nn.s4nd import S4ND
from s4core.ssm.dplr import DplrSSM
from s4core.ssm.modes import AbstractModes


@torch.no_grad()
def inflate_s4nd(images: SequenceModel, videos: SequenceModel) -> None:
    """Copy an s4nd model of images into one of videos, whose first axis is time.

    The kernels along height and width, which keep their extents, and all other weights are copied;
    those along time stay as they were drawn, with steps of 2 / frames. Raises ConversionError where
    the two models differ in anything else.  Source: S4ND, arXiv:2210.06583, section 4.2.
    """
    moved = {
        re.sub(r"systems\.(\d+)\.", lambda m: f"systems.{int(m[1]) + 1}.", name): value
        for name, value in images.state_dict().items()
    }
    kept = videos.state_dict()
    new = {name for name in kept if ".systems.0." in name}
    wrong = sorted(
        name
        for name in moved.keys() | (kept.keys() - new)
        if name not in moved or name not in kept or moved[name].shape != kept[name].shape
    )
    before, after = ([m for m in v.modules() if isinstance(m, S4ND)] for v in (images, videos))
    extents = [a.axes == b.axes[1:] for a, b in zip(before, after, strict=False)]
    if wrong or not extents or not all(extents):
        where = wrong[0] if wrong else "the extents of the axes"
        raise ConversionError(
            f"the video model is not the image model with time before its axes: {where} differs."
        )
    videos.load_state_dict({**kept, **moved})
    for layer in after:
        time = layer.systems[0]
        assert isinstance(time, AbstractModes)
        plain = time.plain_readout() if isinstance(time, DplrSSM) else None
        step = torch.full_like(time.dt, 2.0 / layer.axes[0])
        time.dt.copy_(time.raw_steps(step))
        if isinstance(time, DplrSSM) and plain is not None:
            time.store_readout(plain)
