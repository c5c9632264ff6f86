"""Ray's authentication token: where it is, that only its owner reads it, that nobody prints it.

A token is worth what an ssh key is worth: whoever has it runs code on the cluster. It travels as a
file path (`RAY_AUTH_TOKEN_PATH`), not as a value, so that it is in no command line, log, spec or
MLflow tag. Ray looks for it in `RAY_AUTH_TOKEN`, then in the file `RAY_AUTH_TOKEN_PATH`, then in
`~/.ray/auth_token`, and so do we; Ray's own generator leaves that file readable by all (0644).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cluster.errors import UserError
from dashboards import login

_TOKEN_BYTES = 32
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def token_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the token file is, or will be."""
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def ensure_token(environ: Mapping[str, str] = os.environ) -> Path:
    """Make the token file if there is none, with mode 0600; tighten it if others can read it.

    Raises UserError if the file is there but empty, or belongs to somebody else.
    """
    path = token_path(environ)
    if not path.exists():
        _create(path)
    info = path.stat()
    if info.st_uid != os.getuid():
        raise UserError(
            f"{path} belongs to another user; set RAY_AUTH_TOKEN_PATH to a file of yours."
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(0o600)
    if not path.read_text().strip():
        raise UserError(f"{path} is empty; remove it and a new token will be made.")
    return path


def _create(path: Path) -> None:
    """Write a fresh token; of two processes that try at once, one wins and both use its file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(_TOKEN_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def read_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """The token that Ray would use, or None where there is none; for HTTP headers only."""
    if environ.get("RAY_AUTH_TOKEN"):
        return environ["RAY_AUTH_TOKEN"]
    path = token_path(environ)
    return path.read_text().strip() or None if path.is_file() else None


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a Ray process of ours gets on top of its environment: authentication on, by file."""
    if environ.get("RAY_AUTH_TOKEN"):
        return {"RAY_AUTH_MODE": "token"}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(ensure_token(environ))}


def redact(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """`text` without the token and without the `user:password@` of any URL in it."""
    token = read_token(environ)
    if token:
        text = text.replace(token, "***")
    return _USERINFO.sub("***@", text)


def is_loopback(address: str) -> bool:
    """Whether the URL's host can only be this machine."""
    return login.is_loopback(urlsplit(address).hostname or "")
