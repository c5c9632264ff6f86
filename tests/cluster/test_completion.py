"""The completion that is printed, asked in a real bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def complete(home: Path, *words: str) -> set[str]:
    """What bash offers for the last of `words`."""
    script = (
        f'eval "$({sys.executable} -m cluster.cli completion bash)"\n'
        f"COMP_WORDS=({' '.join(words) or ''}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_s4sweep; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "S4SWEEP_HOME": str(home)}
    command = ["bash", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("s4sweep", "che"), {"check"}),
        (("s4sweep", "resume", "--ep"), {"--epochs"}),
        (("s4sweep", "status", "qui"), {"quickstart"}),
    ],
)
def test_bash_is_offered_verbs_options_and_sweeps(
    tmp_path: Path, words: tuple[str, ...], offered: set[str]
) -> None:
    (tmp_path / "sweeps" / "quickstart").mkdir(parents=True)
    assert complete(tmp_path, *words) == offered
