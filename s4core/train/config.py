"""How a model is trained: every setting of `fit`, flat, with defaults that suit small tasks."""

from __future__ import annotations

from typing import Literal

from s4core.config import config
from s4core.train.metrics import METRICS

OptimizerName = Literal["adamw", "adam", "sgd", "rmsprop", "lamb"]
ScheduleName = Literal[
    "constant", "cosine", "linear", "exponential", "step", "inverse_sqrt", "plateau", "s5"
]
SSMDecay = Literal["standard", "BandCdecay", "BfastandCdecay", "noBCdecay"]
Precision = Literal["fp32", "bf16", "fp16"]
Backend = Literal["eager", "compiled", "graphs"]


@config
class TrainConfig:
    """Settings of one training run; lengths of time are in epochs.

    epochs: how many; batch_size: examples a step (per process when distributed);
    eval_batch_size: examples a batch in validation and test; None is batch_size.
    accumulate: batches summed to one optimiser step. halve_batch: when the device's memory runs
        out, go on from the last epoch with half the batch_size (told in the log and as a metric).

    optimizer, lr, weight_decay, betas, momentum (sgd, rmsprop): as in torch; decay is decoupled
        with adamw only. lamb (arXiv:1904.00962): see train/lamb.py.
    ssm_lr: rate of A, B, dt; None is min(1e-3, lr). ssm_weight_decay: their decay.
    B_lr, dt_lr: rates of B and of dt alone; None is ssm_lr; 0 keeps as it was drawn.
    dt_global: dt learns and decays as the other parameters do (an option of S5).
    ssm_decay: the published S5 variants: standard (A, B, dt at ssm_lr, no decay), BandCdecay (B at
        ssm_lr but decayed), BfastandCdecay (B at lr and decayed), noBCdecay (C and D as A too).
    decay_bias, decay_norm: whether biases and the weights of norms decay.

    schedule: constant; cosine or linear to lr_min; exponential (times decay_factor every
        decay_epochs, smoothly); step (the same in steps); inverse_sqrt (after the warm-up); plateau
        (times decay_factor after decay_epochs epochs without a better objective); s5 (as published:
        its first step takes the full rate, the cosine is not set back after the warm-up).
    warmup: epochs of linear warm-up from 0 to lr, fractions allowed (plateau included).
    lr_min: where cosine, linear, plateau and s5 end. schedule_epochs: their length; None is epochs.

    patience: stop when the objective has not improved for so many epochs; None never stops.
    min_delta: what counts as an improvement for patience.
    grad_clip: largest norm of the gradient; None is off. label_smoothing: 0..1, class targets.
    value_loss: for value targets. ema: decay of averaged weights (0 is off); they are what is
        evaluated and what best.pt holds.
    precision: of everything but the SSM and the FFT, which stay float32.
    backend: eager; compiled (torch.compile: minutes at the start, then fewer and larger
        operations); graphs (the same, replayed as CUDA graphs: for small models on a GPU).
    metrics: further ones to report on val and test, beside loss and accuracy (see metrics.py).
    """

    epochs: int = 20
    batch_size: int = 32
    eval_batch_size: int | None = None
    accumulate: int = 1
    halve_batch: bool = False

    optimizer: OptimizerName = "adamw"
    lr: float = 0.004
    ssm_lr: float | None = None
    B_lr: float | None = None
    dt_lr: float | None = None
    dt_global: bool = False
    ssm_weight_decay: float = 0.0
    weight_decay: float = 0.01
    ssm_decay: SSMDecay = "standard"
    decay_bias: bool = False
    decay_norm: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9

    schedule: ScheduleName = "cosine"
    warmup: float = 0.0
    lr_min: float = 0.0
    schedule_epochs: int | None = None
    decay_factor: float = 0.2
    decay_epochs: int = 10

    patience: int | None = None
    min_delta: float = 0.0
    grad_clip: float | None = None
    label_smoothing: float = 0.0
    value_loss: Literal["mse", "mae", "huber"] = "mse"
    ema: float = 0.0
    precision: Precision = "fp32"
    backend: Backend = "eager"
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "decay_epochs"):
            self._need(name, getattr(self, name) >= 1, ">= 1")
        for name in ("eval_batch_size", "patience", "schedule_epochs"):
            value = getattr(self, name)
            self._need(name, value is None or value >= 1, ">= 1 (or null)")
        self._need("lr", self.lr > 0, "> 0")
        for name in ("ssm_lr", "B_lr", "dt_lr"):
            value = getattr(self, name)
            self._need(name, value is None or value >= 0, ">= 0 (or null)")
        for name in ("weight_decay", "ssm_weight_decay", "warmup", "lr_min", "min_delta"):
            self._need(name, getattr(self, name) >= 0, ">= 0")
        for name in ("label_smoothing", "ema", "momentum"):
            self._need(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        self._need("betas", all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        self._need("decay_factor", 0 < self.decay_factor < 1, "in (0, 1)")
        self._need("grad_clip", self.grad_clip is None or self.grad_clip > 0, "> 0 (or null)")
        self._need("lr_min", self.lr_min <= self.lr, f"<= lr = {self.lr}")
        if self.warmup >= self.horizon:
            raise ValueError(f"need warmup < epochs, got {self.warmup} and {self.horizon}.")
        for name in self.metrics:
            self._need("metrics", name in METRICS, f"of {', '.join(METRICS)}")

    def _need(self, name: str, is_good: bool, rule: str) -> None:
        if not is_good:
            raise ValueError(f"need {name} {rule}, got {getattr(self, name)!r}.")

    @property
    def horizon(self) -> int:
        """Epochs that the schedule spans."""
        return self.schedule_epochs or self.epochs

    @property
    def ssm_rate(self) -> float:
        """The rate of A, defaults resolved."""
        return min(1e-3, self.lr) if self.ssm_lr is None else self.ssm_lr
