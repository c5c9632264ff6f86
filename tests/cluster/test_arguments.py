"""Numbers that no command can take are refused where they are read."""

from __future__ import annotations

import pytest

from cluster.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "x.yaml", "--trials", "0"], "--trials: wants a whole number >= 1, got '0'"),
        (["submit", "x.yaml", "--trials", "some"], "wants a whole number >= 1, got 'some'"),
        (["best", "x", "--top", "-1"], "--top: wants a whole number >= 1, got '-1'"),
        (["metrics", "--port", "99999"], "wants a whole number from 1 to 65535, got '99999'"),
        (["cluster", "up", "--local", "1", "--cpus", "0"], "--cpus: wants a whole number >= 1"),
    ],
)
def test_a_number_that_cannot_be_is_named_with_its_option(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    written = capsys.readouterr().err
    assert said in written
    assert f"(`s4sweep {words[0]}" in written and written.count("\n") == 1
