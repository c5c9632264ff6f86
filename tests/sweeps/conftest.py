"""A sweep small enough to be trained in a second, and one that is only asked and told."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps

TINY = """
name: tiny
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model:
  d_model: 8
  n_layers: 1
  choice:
    - {name: s4d, init: {choice: [lin, inv]}, dropout: {uniform: [0.0, 0.2]}}
    - {name: s4d, n_layers: {int: [1, 2]}}
train: {epochs: 3, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 4}
"""


@pytest.fixture
def tiny_text() -> str:
    """The YAML of a sweep of listops with 48 rows."""
    return textwrap.dedent(TINY).lstrip()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., sweeps.SweepSpec]:
    """Write a YAML and read it as a spec: `load(text)`."""

    def loader(text: str, name: str = "sweep.yaml") -> sweeps.SweepSpec:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return sweeps.load_spec(path)

    return loader


@pytest.fixture
def tiny(load: Callable[..., sweeps.SweepSpec], tiny_text: str) -> sweeps.SweepSpec:
    """The spec of TINY."""
    return load(tiny_text)
