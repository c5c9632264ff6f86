"""The command line answers at once, in one line, with the right exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import cli
from cluster.errors import FailedRun, UserError
from sweeps.hints import TYPED_HOME, hint


def test_alone_it_teaches_in_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    said = capsys.readouterr().out.strip().splitlines()
    assert len(said) <= 10
    assert any("s4sweep run" in line for line in said)


def test_a_misspelt_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["resum", "quickstart"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no command 'resum'" in error
    assert "Did you mean 'resume'?" in error


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    assert f"s4sweep {verb}" in capsys.readouterr().out


def test_a_wrong_option_is_a_mistake_of_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--jsno"]) == 2
    assert "--jsno" in capsys.readouterr().err


def test_starting_the_command_line_imports_nothing_heavy() -> None:
    """`s4sweep` and its help answer in a tenth of a second, because none of these is imported."""
    heavy = ["torch", "ray", "mlflow", "optuna", "pyarrow", "pydantic", "plotly", "pandas", "rich"]
    code = (
        "import sys; from cluster import cli; cli.parser();"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_who_stops_a_sweep_does_not_wait_for_torch(tmp_path: Path) -> None:
    """Its import takes 4 s, of the time in which a sweep is to stop."""
    folder = tmp_path / "sweeps" / "idle"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{}")
    words = ["stop", "idle", "--home", str(tmp_path)]
    code = f"import sys; from cluster import cli; cli.main({words}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["no driver is at work on idle.", "False"]


class TestExplain:
    @pytest.mark.parametrize(
        ("error", "status", "line"),
        [
            (UserError("no such sweep"), 2, "no such sweep"),
            (FailedRun("all trials failed"), 1, "all trials failed"),
            (PermissionError(13, "Permission denied", "/x/y"), 1, "/x/y: Permission denied."),
        ],
    )
    def test_an_expected_error_is_its_own_line(
        self, error: Exception, status: int, line: str
    ) -> None:
        assert cli.explain(error) == (status, line)

    def test_a_config_error_is_the_users(self) -> None:
        from s4core.config import ConfigError

        assert cli.explain(ConfigError("model.d_state", "wants a whole number, got 'x'."))[0] == 2

    def test_a_bug_says_so_and_names_the_way_to_its_traceback(self) -> None:
        status, line = cli.explain(KeyError("oops"))
        assert status == 1
        assert "KeyError" in line and "--debug" in line

    def test_a_text_of_several_lines_becomes_one(self) -> None:
        assert cli.explain(UserError("a\n  b\nc")) == (2, "a b c")


def test_an_option_has_one_name_so_that_a_relayed_command_is_not_relayed_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["status", "mine", "--addr", "http://127.0.0.1:1"]) == 2
    assert "unrecognized arguments: --addr" in capsys.readouterr().err


def test_home_before_or_after_the_verb_means_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("S4SWEEP_HOME", "elsewhere")
    for argv in (["--home", str(tmp_path), "list"], ["list", "--home", str(tmp_path)]):
        assert cli.main(argv) == 0
        assert str(tmp_path) in capsys.readouterr().out


def test_a_hint_names_the_home_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("S4SWEEP_HOME", str(tmp_path / "another"))
    monkeypatch.setenv(TYPED_HOME, "")
    home = tmp_path / "my home"
    assert cli.main(["list", "--home", str(home)]) == 0
    assert hint("resume tiny") == f"s4sweep resume tiny --home '{home}'"
    monkeypatch.setenv("S4SWEEP_HOME", str(tmp_path / "exported"))
    assert hint("resume tiny") == "s4sweep resume tiny"
