"""MLflow asks for a login as soon as it does not listen on the loopback address alone."""

from __future__ import annotations

import base64
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dashboards import login, server
from dashboards.errors import ServerError
from dashboards.record import SweepRecord


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("lab", False)],
)
def test_only_the_loopback_address_needs_no_login(host: str, local: bool, tmp_path: Path) -> None:
    assert login.is_loopback(host) is local
    assert (login.login_for(host, tmp_path) is None) is local


def test_passwords_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first, second = (login.login_for("0.0.0.0", tmp_path) for _ in range(2))
    assert first == second
    assert first is not None
    files = [p for p in (tmp_path / login.FOLDER).iterdir() if p.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    password = first.password_file.read_text()
    assert len(password) == 32
    assert password not in " ".join(first.options)
    assert password not in first.environment.values()


def test_optuna_dashboard_which_has_no_login_stays_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="forward the port with ssh, not 0.0.0.0"):
        server.start_optuna(SweepRecord(tmp_path), host="0.0.0.0")


def answer(url: str, name: str | None = None, password: str = "") -> int:
    request = urllib.request.Request(url)
    if name is not None:
        pair = base64.b64encode(f"{name}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.slow
def test_a_real_exposed_server_lets_only_the_right_password_in(tmp_path: Path) -> None:
    running = server.start(tmp_path, host="0.0.0.0", port=None)
    try:
        port = running.url.rsplit(":", 1)[1].rstrip("/")
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
        password = (tmp_path / login.FOLDER / "admin-password").read_text()
        assert answer(url) == 401
        assert answer(url, "admin", "password1234") == 401
        assert answer(url, "admin", password) == 200
        log = (tmp_path / server.STATE).with_suffix(".log").read_text()
        assert password not in log
    finally:
        running.stop()
