"""Sampling from a model of the next token, one step at a time: O(1) a step in the length so far."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s4core.nn.model import SequenceModel
from s4core.train.fit import choose_device, load_model

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """tokens: (B, prefix + length), the prefix first. log_prob: (B,), the log-likelihood of what
    was generated under the model itself (temperature 1, no top-p), in nats; sort or reject by it.
    """

    tokens: Tensor
    log_prob: Tensor


@torch.no_grad()
def generate(
    model: SequenceModel,
    prefix: Tensor,
    *,
    length: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Continue each row of `prefix` (B, P), P >= 1 tokens, by `length` tokens.

    The model answers at every step with the logits of the next token (target "step_class", tokens).
    temperature: 0 takes the likeliest token. top_p: sample among the likeliest tokens that together
    have at least this probability. generator: makes the draw repeatable; on the model's device.
    The model runs in eval mode. Raises ValueError for a model or a prefix that cannot be continued.
    """
    shape = model.shape
    if not shape.tokens or shape.target != "step_class" or shape.d_output != shape.d_input:
        raise ValueError(
            "only a model of the next token generates: its task has tokens, the target step_class "
            f"and as many outputs as tokens; got tokens={shape.tokens}, target={shape.target!r}, "
            f"{shape.d_output} outputs of {shape.d_input}."
        )
    if prefix.ndim != 2 or prefix.shape[1] < 1:
        raise ValueError(f"want a prefix of (B, P) tokens, P >= 1, got {tuple(prefix.shape)}.")
    last = prefix.shape[1] + length
    if model.encoder.position != "none" and last > shape.length:
        raise ValueError(
            f"this model adds the position of each of {shape.length} steps to its input, so it "
            f"cannot go on to step {last}."
        )
    if temperature < 0.0 or not 0.0 < top_p <= 1.0:
        raise ValueError(f"need temperature >= 0 and 0 < top_p <= 1, got {temperature=}, {top_p=}.")
    tokens, log_prob = [prefix], torch.zeros(prefix.shape[0], device=prefix.device)
    with _in_eval_mode(model):
        logits, state = model.forward_with_state(prefix, model.initial_state(prefix.shape[0]))
        logits = logits[:, -1]
        for number in range(length):
            token = _draw(logits, temperature, top_p, generator)
            log_prob += torch.log_softmax(logits.float(), -1).gather(1, token[:, None])[:, 0]
            tokens.append(token[:, None])
            if number + 1 < length:
                logits, state = model.step(token, state)
    return Samples(tokens=torch.cat(tokens, 1), log_prob=log_prob)


def generate_kept(
    folder: Path,
    prefix: Array,
    *,
    length: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    checkpoint: str = "best",
    device: str | None = None,
) -> tuple[Array, Array]:
    """`generate` with the model kept in a training folder; gives tokens and log_prob.

    device: None takes a GPU if there is one. Raises CheckpointError too.
    """
    where = choose_device(device)
    model, _ = load_model(folder, checkpoint, device=where)
    assert isinstance(model, SequenceModel)
    samples = generate(
        model,
        torch.as_tensor(prefix, dtype=torch.long, device=where),
        length=length,
        temperature=temperature,
        top_p=top_p,
        generator=torch.Generator(where).manual_seed(seed),
    )
    return samples.tokens.cpu().numpy(), samples.log_prob.cpu().numpy()


@contextlib.contextmanager
def _in_eval_mode(model: SequenceModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _draw(
    logits: Tensor, temperature: float, top_p: float, generator: torch.Generator | None
) -> Tensor:
    if temperature == 0.0:
        return logits.argmax(-1)
    p = torch.softmax(logits.float() / temperature, -1)
    if top_p < 1.0:
        ordered, index = p.sort(-1, descending=True)
        # What stands before a token decides, so that the likeliest one always stays.
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
        p = torch.zeros_like(p).scatter(-1, index, ordered)
    return torch.multinomial(p, 1, generator=generator)[:, 0]
