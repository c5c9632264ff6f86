"""What training may raise.

ValueError
 |- ConfigError         a setting that cannot be (s4core.config)
 `- Unfusable           trials that cannot be trained as one; each alone can
RuntimeError
 |- Diverged            the loss is no number any more; the trial cannot be saved by trying again
 `- CheckpointError     a checkpoint is damaged, or belongs to something else
"""

from __future__ import annotations

from pathlib import Path


class Unfusable(ValueError):
    """These trials cannot be trained as one (fused.py); the message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot fuse these trials: {reason}.")


class Diverged(RuntimeError):
    """The training loss became infinite or NaN in `epoch` (counted from 1)."""

    def __init__(self, epoch: int, loss: float) -> None:
        super().__init__(
            f"the loss became {loss} in epoch {epoch}: lower lr or ssm_lr, or set grad_clip."
        )
        self.epoch = epoch
        self.loss = loss

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, float]]:
        # Exceptions cross process borders pickled; the default would pass the message alone.
        return (Diverged, (self.epoch, self.loss))


class CheckpointError(RuntimeError):
    """The checkpoint at `path` cannot be used; the message says why and what to do."""

    def __init__(self, path: Path | str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message

    def __reduce__(self) -> tuple[type[CheckpointError], tuple[Path | str, str]]:
        return (CheckpointError, (self.path, self.message))
