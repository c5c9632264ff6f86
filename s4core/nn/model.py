"""A whole sequence model: checks, encoder, stack, decoder, in each way of running it."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from s4core.config import TaskShape
from s4core.nn import layout
from s4core.nn.block import State, takes_dt
from s4core.nn.gates import MakeMixer
from s4core.nn.heads import Decoder, Encoder
from s4core.nn.options import StackOptions
from s4core.nn.stack import Stack
from s4core.nn.wavelet import Wavelet

_NEEDS_DT = "this task has irregular steps: pass dt, the time since the step before."


class Backbone(Protocol):
    """What stands between encoder and decoder: a Stack or a U-Net (an nn.Module)."""

    d_output: int
    stride: int  # input steps for each output step

    def __call__(
        self, x: Tensor, lengths: Tensor | None = None, rate: float = 1.0, dt: Tensor | None = None
    ) -> Tensor:
        """Run a whole sequence."""

    def initial_state(self, batch: int) -> State:
        """Make the state before the first step."""

    def step(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor | None, State]:
        """Run one step."""

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run a piece of a sequence from a carried state."""


class SequenceModel(nn.Module):
    """Encoder, backbone and decoder for a task of the given shape.

    forward(x, lengths, rate, dt): x (B, L, d_input) floats or (B, L) int64 tokens; lengths (B,)
    valid steps, beyond which x is padding; rate scales every dt (2 for half of the samples);
    dt (B, L) the time since the step before. Result (B, d_output), or (B, L, d_output) for step
    targets. L may be shorter than shape.length / rate, never longer: that raises ValueError.

    initial_state(batch) and step(x_t, state) run one step, as in eval mode: x_t (B, d_input) or
    (B,) tokens; the answer (B, d_output) is forward's for the steps so far. The state belongs to
    the parameters of the moment it was made. forward_with_state(x, state) does the same for a
    piece of a sequence, in the mode (train or eval) that the model is in.
    torch.compile(model.step, fullgraph=True) steps faster on a CPU: see benchmarks/step.py.
    """

    def __init__(self, options: StackOptions, shape: TaskShape, backbone: Backbone) -> None:
        super().__init__()
        assert isinstance(backbone, nn.Module)
        self.shape, self.irregular = shape, options.irregular
        for name, value in (("block_pool", "spectral"), ("norm", "instance"), ("norm", "group")):
            if shape.ragged and getattr(options, name) == value:
                raise ValueError(
                    f"{name} {value!r} looks at whole sequences, but this task is ragged and pads "
                    "them: choose another."
                )
        appends = shape.irregular and options.irregular == "append"
        if appends and shape.tokens:
            raise ValueError(
                "irregular 'append' adds a channel to floats, but this task has tokens."
            )
        if shape.irregular and options.irregular == "step" and not takes_dt(backbone):
            raise ValueError(
                "the layers of this model have one fixed step, but the task has irregular ones: "
                "set irregular to append or ignore, or take s5."
            )
        each_step = shape.target in ("step_class", "step_value")
        if each_step and backbone.stride != 1:
            raise ValueError(
                "this task wants an answer at every step, but the pools between the blocks leave "
                f"one of {backbone.stride} steps: set block_pool to none."
            )
        d_input = shape.d_input + int(appends)
        self.front = None
        if options.front == "wavelet":
            if shape.tokens:
                raise ValueError("front 'wavelet' transforms floats, but this task has tokens.")
            self.front = Wavelet(d_input, shape.length)
            d_input = self.front.d_output
        self.encoder = Encoder(options, shape, d_input)
        self.backbone = backbone
        self.decoder = Decoder(backbone.d_output, shape, options)

    @property
    def needs_dt(self) -> bool:
        """Whether the time since the step before has to come with each step."""
        return self.shape.irregular and self.irregular != "ignore"

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        rate: float = 1.0,
        dt: Tensor | None = None,
    ) -> Tensor:
        """Answer for whole sequences."""
        self._check(x, lengths, rate, dt)
        if x.shape[0] == 0:
            return self.decoder(self.decoder.nothing(x.shape[1]))  # type: ignore[no-any-return]
        x, dt = self._take_dt(x, dt)
        stride = self.backbone.stride
        if self.front is not None:
            # It looks at all steps at once, so those that are padding must be nothing.
            x = self.front(layout.mask_padding(x, lengths))
        h = self.backbone(self.encoder(x, rate=rate), lengths, rate, dt)
        if lengths is not None and stride > 1:
            lengths = lengths // stride
        return self.decoder(h, lengths)  # type: ignore[no-any-return]

    def initial_state(self, batch: int) -> State:
        """Make the state before the first step."""
        self._refuse_half()
        if self.front is not None:
            raise ValueError("front 'wavelet' looks at the whole sequence: this model cannot step.")
        return 0, self.backbone.initial_state(batch), self.decoder.initial_state(batch)

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """Answer after one more step; dt (B,) the time since the step before, where irregular."""
        number, inner, kept = state
        _check_batch(x, kept[0])
        x, dt = self._take_dt(x, dt)
        h, inner = self.backbone.step(self.encoder.step(x, number), inner, dt)
        y, kept = self.decoder.step(h, kept)
        return y, (number + 1, inner, kept)

    def forward_with_state(
        self, x: Tensor, state: State, dt: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Answer after a piece x (B, l, d_input) more; any lengths, odd ones too, from any step."""
        number, inner, kept = state
        _check_batch(x, kept[0])
        if x.shape[0] == 0:
            return self.decoder(self.decoder.nothing(x.shape[1])), state
        x, dt = self._take_dt(x, dt)
        h, inner = self.backbone.forward_with_state(self.encoder(x, number), inner, dt)
        y, kept = self.decoder.forward_with_state(h, kept)
        return y, (number + x.shape[1], inner, kept)

    def _take_dt(self, x: Tensor, dt: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not self.needs_dt:
            return x, None
        if dt is None:
            raise ValueError(_NEEDS_DT)
        if self.irregular == "append":
            return torch.cat([x, dt[..., None].to(x.dtype)], dim=-1), None
        return x, dt

    def _refuse_half(self) -> None:
        dtype = self.decoder.readout.linear.weight.dtype
        if dtype in (torch.bfloat16, torch.float16):
            raise ValueError(
                f"the weights are {dtype}, too coarse for a state space: keep them in float32 and "
                "run the model under torch.autocast."
            )

    def _check(self, x: Tensor, lengths: Tensor | None, rate: float, dt: Tensor | None) -> None:
        shape = self.shape
        self._refuse_half()
        wanted = "(B, L) tokens" if shape.tokens else f"(B, L, {shape.d_input}) floats"
        fits = x.ndim == 2 if shape.tokens else x.ndim == 3 and x.shape[2] == shape.d_input
        if not fits or x.is_floating_point() == shape.tokens:
            raise ValueError(f"want x of {wanted}, got {tuple(x.shape)} of {x.dtype}.")
        if not 0.0 < rate < math.inf:
            raise ValueError(f"need a finite rate > 0, got {rate}.")
        if self.front is not None and rate != 1.0:
            raise ValueError(
                f"front 'wavelet' belongs to one step size: need rate 1, got {rate:g}."
            )
        longest, shortest = max(1, round(shape.length / rate)), self.backbone.stride
        if shape.axes:
            # At half the rate an image has twice the pixels along each axis.
            longest = max(longest, math.prod(round(extent / rate) for extent in shape.axes))
        if not shortest <= x.shape[1] <= longest:
            raise ValueError(
                f"x has {x.shape[1]} steps, but this model was built for {shortest} to {longest} "
                f"(length {shape.length}, rate {rate:g}): build it with a longer shape."
            )
        if shape.pairs and x.shape[0] % 2:
            raise ValueError(f"a task of pairs needs an even number of rows, got {x.shape[0]}.")
        if lengths is not None and lengths.shape != x.shape[:1]:
            raise ValueError(f"want lengths of ({x.shape[0]},), got {tuple(lengths.shape)}.")
        # Not on a GPU, where a look at values waits for all that was started.
        looks = not torch.compiler.is_compiling() and x.device.type == "cpu"
        if looks and lengths is not None and bool(((lengths < 0) | (lengths > x.shape[1])).any()):
            raise ValueError(
                f"x has {x.shape[1]} steps, but lengths go from {lengths.min()} to {lengths.max()}."
            )
        if dt is not None and dt.shape != x.shape[:2]:
            raise ValueError(f"want dt of {tuple(x.shape[:2])}, got {tuple(dt.shape)}.")


def _check_batch(x: Tensor, kept: Tensor) -> None:
    """Raise ValueError for a batch x of another size than the one that the state is of."""
    if x.shape[0] != kept.shape[0]:
        raise ValueError(f"the state is one of {kept.shape[0]} sequences, but x has {x.shape[0]}.")


def stack_model(options: StackOptions, shape: TaskShape, make_mixer: MakeMixer) -> SequenceModel:
    """Build the usual model, a stack of blocks around mixers."""
    stack = Stack(options, l_max=shape.length, make_mixer=make_mixer)
    return SequenceModel(options, shape, stack)
