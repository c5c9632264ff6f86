"""A login for MLflow's pages as soon as another machine can reach them.

MLflow's basic-auth app asks for a name and a password; it has no default one. Ours is made once,
lies in a file that only its owner reads, and is never printed: the path is.
"""

from __future__ import annotations

import configparser
import dataclasses
import importlib.util
import ipaddress
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from dashboards.errors import ServerError

ADMIN = "admin"
FOLDER = "mlflow-auth"


@dataclasses.dataclass(frozen=True)
class Login:
    """What makes a server ask: options of `mlflow server`, its environment, the password's file."""

    options: tuple[str, ...]
    environment: Mapping[str, str]
    password_file: Path


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def login_for(host: str, home: Path) -> Login | None:
    """The login of a server that listens at `host`; None on the loopback address.

    Raises ServerError when the app that asks cannot be had.
    """
    if is_loopback(host):
        return None
    if importlib.util.find_spec("flask_wtf") is None:
        raise ServerError(
            f"MLflow at {host} needs a login, and that needs Flask-WTF: pip install 'mlflow[auth]',"
            " or leave it on 127.0.0.1 and forward the port with ssh."
        )
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = folder / "admin-password"
    settings = configparser.ConfigParser(interpolation=None)
    settings["mlflow"] = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{folder.resolve() / 'users.db'}",
        "admin_username": ADMIN,
        "admin_password": _secret(password),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    config = folder / "basic_auth.ini"
    with _private(config) as file:
        settings.write(file)
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config.resolve()),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": _secret(folder / "secret-key"),
    }
    return Login(("--app-name", "basic-auth"), environment, password)


def _secret(path: Path) -> str:
    """What the file holds; made, for its owner alone, where there is none."""
    if not path.exists():
        with _private(path) as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text().strip()


def _private(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")
