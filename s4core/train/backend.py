"""How a model's operations are run: one after the other, compiled, or as replayed CUDA graphs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from s4core.config import ConfigError
from s4core.train.config import Backend

# A linker that still writes a library does not take so long.
ABANDONED_S = 60.0


def on_backend(model: nn.Module, backend: Backend, device: torch.device) -> Any:
    """The function that runs `model` so; each shape of input is compiled when it is first seen.

    Raises ConfigError for graphs on a device that has none.
    """
    if backend == "eager":
        return model
    if backend == "graphs" and device.type != "cuda":
        raise ConfigError("train.backend", f"graphs needs a GPU, got {device.type}: take compiled.")
    drop_half_written()
    # Of one function torch compiles eight versions a process and runs what comes later eagerly:
    # those of the trial before must not count.
    torch.compiler.reset()
    mode = "reduce-overhead" if backend == "graphs" else None
    return torch.compile(model, dynamic=False, mode=mode)


def drop_half_written() -> None:
    """Take libraries out of the compiler's cache whose maker was killed while it wrote them.

    Every later run of the same model would load them and fail.
    """
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    for library in Path(cache_dir()).glob("*/*.so"):
        try:
            with library.open("rb") as file:
                whole = file.read(4) == b"\x7fELF"
            if not whole and time.time() - library.stat().st_mtime > ABANDONED_S:
                library.unlink()
        except FileNotFoundError:  # another process was faster
            continue
