"""The token is made once, is its owner's alone, and is taken out of whatever is printed."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from cluster import auth
from cluster.errors import UserError


def test_a_new_token_is_long_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = auth.ensure_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "deep" / "token")})
    assert len(path.read_text()) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["token"]


def test_a_token_that_others_can_read_is_tightened(tmp_path: Path) -> None:
    """Ray's own generator writes 0644."""
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(0o644)
    auth.ensure_token({"RAY_AUTH_TOKEN_PATH": str(path)})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "abc"


def test_two_that_start_at_once_share_one_token(tmp_path: Path) -> None:
    environ = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    barrier, seen = threading.Barrier(8), set()

    def start() -> None:
        barrier.wait()
        seen.add(auth.ensure_token(environ).read_text())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_token_file_is_an_error_not_an_open_door(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch()
    with pytest.raises(UserError, match="is empty"):
        auth.ensure_token({"RAY_AUTH_TOKEN_PATH": str(path)})


def test_ray_looks_in_the_variable_then_in_the_named_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    named = {"RAY_AUTH_TOKEN_PATH": str(path)}
    assert auth.read_token(named) == "from-file"
    assert auth.read_token({**named, "RAY_AUTH_TOKEN": "from-variable"}) == "from-variable"
    assert auth.read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}) is None


def test_children_get_the_path_of_the_token_not_the_token(tmp_path: Path) -> None:
    environ = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    given = auth.child_environment(environ)
    assert given == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}


def test_what_is_printed_holds_no_token_and_no_password(tmp_path: Path) -> None:
    environ = {"RAY_AUTH_TOKEN": "s3cr3t"}
    text = "Bearer s3cr3t to https://anna:pa55@mlflow.lab:5000/x and http://plain.lab/y"
    shown = auth.redact(text, environ)
    assert shown == "Bearer *** to https://***@mlflow.lab:5000/x and http://plain.lab/y"


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://127.1.2.3:8265", True),
        ("http://localhost:8265", True),
        ("http://[::1]:8265", True),
        ("http://192.0.2.7:8265", False),
        ("https://head:8265", False),
        ("http://127.0.0.1.evil.example:8265", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, local: bool) -> None:
    assert auth.is_loopback(address) is local
