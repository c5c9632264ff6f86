"""The engine contract, kept by the inline engine of `sweeps` (no Ray)."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_contract import EngineContract, Run, Watcher
from fused_contract import FusedContract

from sweeps import SweepSpec, run_inline
from sweeps.types import SweepResult


class TestInline(EngineContract):
    @pytest.fixture
    def run(self) -> Run:
        def run(spec: SweepSpec, home: Path, watcher: Watcher) -> SweepResult:
            return run_inline(spec, home, watcher)

        return run


class TestInlineFused(FusedContract):
    @pytest.fixture
    def run(self) -> Run:
        return run_inline
