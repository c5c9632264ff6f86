"""The benchmarks that a document names exist, start, and know the options that it gives them.

What they measure takes minutes to hours on a quiet machine; they are run by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.documented import DOCUMENTS, ROOT, commands, inline


def _named() -> list[str]:
    """Script and arguments of every `python benchmarks/...` in a document."""
    found = set()
    for path in DOCUMENTS:
        for code in [*(command.text for command in commands(path)), *inline(path)]:
            if match := re.search(r"python\s+(benchmarks/\w+\.py[^#;&|]*)", code):
                found.add(" ".join(match[1].split()))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("command", _named())
def test_a_benchmark_that_a_document_names_starts(command: str) -> None:
    words = command.split()
    done = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    assert all(word in done.stdout for word in words if word.startswith("--")), done.stdout


@pytest.mark.parametrize("model", ["s4d", "s4"])
def test_the_twin_that_a_training_step_is_measured_against_computes_the_same(model: str) -> None:
    check = f"import training; training.check({model!r})"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT / "benchmarks", text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_every_benchmark_is_named_in_a_document() -> None:
    named = {command.split()[0] for command in _named()}
    scripts = (ROOT / "benchmarks").glob("*.py")
    assert {f"benchmarks/{path.name}" for path in scripts} - named == {"benchmarks/timing.py"}
