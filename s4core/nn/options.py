"""The fields that all models share: what is around the mixers. A model's Config adds its own.

The rule of dropout: probability `dropout` acts at two places of a block, after the activation and
on the branch before the residual sum, with one mask for all steps of a sequence (`tie_dropout`).
`dropout_rule` picks the published variants.
"""

from __future__ import annotations

from typing import Literal

from s4core.config import config
from s4core.nn.activation import ActivationName, FinalName
from s4core.nn.norm import NormName
from s4core.nn.residual import ResidualName

EncoderName = Literal["auto", "linear", "embedding", "onehot", "identity"]
PoolingName = Literal["mean", "last", "first", "sum"]
BlockPoolName = Literal["none", "avg", "max", "sample", "linear", "spectral"]
DropoutRule = Literal["standard", "branch", "inner", "s4_head"]


def need_positive(options: object, *names: str) -> None:
    """Raise ValueError where one of the fields is below 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise ValueError(f"need {name} >= 1, got {getattr(options, name)}.")


@config
class StackOptions:
    """The backbone: encoder, n_layers blocks, decoder.

    d_model: channels of the stack. n_layers: blocks.
    dropout: probability, see the module; dropout_rule: standard (both places), branch (only before
        the sum), inner (only after the activation), s4_head (standard and an untied mask before the
        activation, as the official code has had since v4); dropout_input: on the encoded input.
    drop_path: probability that the last block's branch is left out for a sequence, falling
        linearly to 0 at the first (stochastic depth, arXiv:1603.09382).
    prenorm: normalise before the mixer, else after the sum; double_norm: both (s4torch);
        final_norm: one more before the decoder, in a prenorm stack. norm: see nn/norm.py;
        norm_momentum: torch's (0.1; S5 publishes 0.05), norm_eps.
    activation, final_act: see nn/activation.py. residual: see nn/residual.py.
    weight_norm: learn size and direction of the rows of a block's last linear map apart
        (arXiv:1602.07868).
    gates: what is around the mixer inside of a block; gss: a multiplicative branch of gate x
        d_model channels through gate_act, the mixer on d_model / bottleneck (published with
        activation none and final_act linear; `activation` acts on the product); h3: query, key,
        value, the key through a causal filter of shift_taps.
    ff: a feed-forward block of ff x d_model channels after every mixer's (0 none).
    block_pool, pool_stride, pool_expand, pool_every: shorten the sequence by pool_stride after
        every pool_every-th block, the channels grow by pool_expand; a pool that would leave
        pool_stride steps or fewer is left out (s4torch's rule).
    encoder: auto is an embedding for tokens and a linear map for floats. position: added to it.
    front: wavelet feeds the magnitudes of a continuous wavelet transform to the encoder.
    pooling: how the decoder of a task with one answer a sequence sees time. retrieval_features: nli
        joins two documents as [a, b, a - b, a b], concat as [a, b]; retrieval_activation between.
    irregular: what happens to the time steps of a task that has them: step (they scale dt),
        append (one more input channel), ignore.
    """

    d_model: int = 64
    n_layers: int = 4
    dropout: float = 0.0
    tie_dropout: bool = True
    dropout_rule: DropoutRule = "standard"
    dropout_input: float = 0.0
    drop_path: float = 0.0
    prenorm: bool = True
    double_norm: bool = False
    final_norm: bool = True
    norm: NormName = "layer"
    norm_momentum: float = 0.1
    norm_eps: float = 1e-5
    activation: ActivationName = "gelu"
    final_act: FinalName = "glu"
    weight_norm: bool = False
    residual: ResidualName = "add"
    gates: Literal["none", "gss", "h3"] = "none"
    gate: int = 4
    gate_act: Literal["none", "gelu", "relu", "silu", "tanh", "sigmoid"] = "gelu"
    bottleneck: int = 4
    shift_taps: int = 4
    ff: int = 0
    block_pool: BlockPoolName = "none"
    pool_stride: int = 2
    pool_expand: int = 1
    pool_every: int = 1
    encoder: EncoderName = "auto"
    position: Literal["none", "sinusoid", "learned"] = "none"
    front: Literal["none", "wavelet"] = "none"
    pooling: PoolingName = "mean"
    retrieval_features: Literal["nli", "concat"] = "nli"
    retrieval_activation: Literal["relu", "gelu", "gelu_tanh"] = "relu"
    irregular: Literal["step", "append", "ignore"] = "step"

    def __post_init__(self) -> None:
        need_positive(
            self, "d_model", "n_layers", "gate", "bottleneck", "shift_taps",
            "pool_stride", "pool_expand", "pool_every",
        )  # fmt: skip
        if self.weight_norm and self.final_act == "none":
            raise ValueError("final_act 'none' has no linear map: it needs weight_norm false.")
        if self.ff < 0:
            raise ValueError(f"need ff >= 0, got {self.ff}.")
        for name in ("dropout", "dropout_input", "drop_path"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"need 0 <= {name} < 1, got {getattr(self, name)}.")
        if not 0.0 < self.norm_momentum <= 1.0:
            raise ValueError(f"need 0 < norm_momentum <= 1, got {self.norm_momentum}.")
        if not self.norm_eps > 0.0:
            raise ValueError(f"need norm_eps > 0, got {self.norm_eps}.")
        if self.gates == "gss" and self.d_model % self.bottleneck:
            raise ValueError(
                f"need d_model divisible by bottleneck, got {self.d_model} and {self.bottleneck}."
            )
        if self.gates == "gss":
            self._keeps_channels(self.gate, f"gate {self.gate}")
        if self.pool_expand > 1 and self.block_pool == "none":
            raise ValueError(f"need a block_pool for pool_expand {self.pool_expand}.")

    @property
    def d_mixer(self) -> int:
        """Features that a mixer of the stack (of the outermost tier) has."""
        return self.d_model // self.bottleneck if self.gates == "gss" else self.d_model

    def _keeps_channels(self, factor: int, what: str) -> None:
        """Raise ValueError where a mixer that gives `factor` x d_model channels does not fit."""
        if factor > 1 and self.final_act in ("half_glu1", "half_glu2", "none"):
            raise ValueError(
                f"final_act {self.final_act!r} keeps the number of channels, but {what} makes "
                "them more: choose glu or linear."
            )


@config
class ConvOptions(StackOptions):
    """A stack of layers with one or more kernels a feature.

    channels: kernels for each feature. bidirectional: a second kernel that looks ahead (no step).
    sobolev: exponent of the filter (1 + frequency)^sobolev on the kernels, see nn/frequency.py; a
        filtered kernel looks ahead too, so only 0 can step.
    kernel_dropout: probability that a value of a kernel is left out of a training step.
    """

    channels: int = 1
    bidirectional: bool = False
    sobolev: float = 0.0
    kernel_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "channels")
        if not 0.0 <= self.kernel_dropout < 1.0:
            raise ValueError(f"need 0 <= kernel_dropout < 1, got {self.kernel_dropout}.")
        if self.gates == "h3" and self.channels > 1:
            raise ValueError(f"gates h3 needs channels 1, got {self.channels}.")
        if self.gates == "none":
            self._keeps_channels(self.channels, f"channels {self.channels}")

    @property
    def kernels(self) -> int:
        """Kernels that a system has to make for each feature."""
        return self.channels * (2 if self.bidirectional else 1)
