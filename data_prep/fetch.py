"""Raw files from the network, whole and verified, or an error that says what to do instead.

A download continues where the last one broke off (Range, held together by the server's ETag), may
come from any of several mirrors, never grows beyond its announced size, and appears under its name
only when size and checksum are right. Where nobody published a checksum, the one seen first is
recorded in `.seen.json` beside the file and later downloads are held to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import json
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from data_prep.atomic import write_atomic
from data_prep.card import RawFile
from data_prep.errors import DataError
from data_prep.sources import reading, sha256_of

_log = logging.getLogger(__name__)
_BLOCK = 1 << 18
Progress = Callable[[str, int, int], None]  # (file or split, done, in all or 0 if unknown)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """How to reach the servers.

    mirrors: folders (URLs) that hold the same files, tried before the card's own addresses;
    proxy: URL of an HTTP proxy ("": none, None: what the environment says);
    token: sent as a bearer token to each address asked, never to a host it redirects to;
    retries: attempts in a row that bring no new byte before an address is given up.
    """

    mirrors: tuple[str, ...] = ()
    proxy: str | None = None
    token: str | None = None
    timeout_s: float = 30.0
    retries: int = 4
    pause_s: float = 1.0


class _Broken(Exception):
    """The connection ended early: what has come so far is kept."""


class _Wrong(Exception):
    """This address gives something else than what is wanted: try the next one."""


def fetch(
    file: RawFile,
    folder: Path,
    *,
    network: Network | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring one raw file into `folder`, unless it is there; returns its path.

    Raises DataError, naming every address that was tried and why it failed.
    """
    network = network or Network()
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if path.is_file():
            return path
        name = urllib.parse.quote(Path(file.path).name)
        urls = tuple(m.rstrip("/") + "/" + name for m in network.mirrors) + file.urls
        failures = []
        for url in urls:
            try:
                _download(url, path, file, network, progress)
                return path
            except _Wrong as error:
                failures.append(f"{url}: {error}")
        tried = "; ".join(failures) or "its publisher gives no address"
        raise DataError(
            f"cannot download {file.shown}: {tried}. Put the file itself at {path}, or name a "
            "mirror that has it."
        )


def _download(
    url: str, path: Path, file: RawFile, network: Network, progress: Progress | None
) -> None:
    part = path.with_name(path.name + ".part")
    idle = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, file, network, progress)
            break
        except _Broken as error:
            idle = 0 if _size(part) > before else idle + 1
            if idle >= network.retries:
                raise _Wrong(f"{error} ({idle} attempts brought nothing)") from error
            pause_s = network.pause_s * 2**idle
            _log.warning("%s: %s; going on in %.0f s.", url, error, pause_s)
            time.sleep(pause_s)
    try:
        _verify(part, path, file)
    except _Wrong:
        _forget(part)
        raise
    part.replace(path)
    _forget(part)


def _receive(
    url: str, part: Path, file: RawFile, network: Network, progress: Progress | None
) -> None:
    """Append to `part` what is missing of it."""
    have, validator = _resume_point(url, part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        response = _open(url, headers, network)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            _forget(part)
            raise _Broken("the server has no such range") from error
        if error.code in (408, 429) or error.code >= 500:
            raise _Broken(f"HTTP {error.code}") from error
        hint = ": it wants a token" if error.code in (401, 403) and not network.token else ""
        raise _Wrong(f"HTTP {error.code}{hint}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"{type(error).__name__}: {error}") from error
    with response:
        start = _start(response, have)
        total = _total(response, start)
        if file.size is not None and total is not None and total != file.size:
            raise _Wrong(f"announces {total} bytes, should be {file.size}")
        _remember(url, part, response)
        limit = file.size if file.size is not None else total
        with part.open("ab" if start else "wb") as sink:
            _copy(
                response,
                sink,
                start,
                limit,
                lambda n: progress and progress(file.path, n, limit or 0),
            )
    if limit is not None and _size(part) < limit:
        raise _Broken(f"ended after {_size(part)} of {limit} bytes")


def _copy(
    response: Any, sink: Any, start: int, limit: int | None, seen: Callable[[int], object]
) -> None:
    """Copy the body, no further than `limit`."""
    done = start
    while True:
        try:
            block = response.read(_BLOCK)
        except http.client.IncompleteRead as error:
            sink.write(error.partial)
            raise _Broken("the connection was dropped") from error
        except OSError as error:
            raise _Broken(f"{type(error).__name__}: {error}") from error
        if not block:
            return
        done += len(block)
        if limit is not None and done > limit:
            raise _Wrong(f"sends more than the {limit} bytes it should")
        sink.write(block)
        seen(done)


class _KeepToken(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but takes the token only to the same host and scheme."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        old, to = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new is not None and (old.scheme, old.netloc) != (to.scheme, to.netloc):
            new.remove_header("Authorization")
        return new


def _open(url: str, headers: Mapping[str, str], network: Network) -> Any:
    handlers: list[Any] = [_KeepToken()]
    if network.proxy is not None:
        proxies = dict.fromkeys(("http", "https"), network.proxy) if network.proxy else {}
        handlers.append(urllib.request.ProxyHandler(proxies))
    request = urllib.request.Request(url, headers=dict(headers))
    if network.token is not None:
        request.add_header("Authorization", f"Bearer {network.token}")
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise _Wrong("is no http or https address")
    return urllib.request.build_opener(*handlers).open(request, timeout=network.timeout_s)


def _start(response: Any, have: int) -> int:
    """Return the place in the file where this answer begins."""
    if response.status != 206:
        return 0
    found = str(response.headers.get("Content-Range", "")).removeprefix("bytes ")
    if not found.startswith(f"{have}-"):
        raise _Wrong(f"answers with the range {found!r}, asked was {have}-")
    return have


def _total(response: Any, start: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else start + int(length)


def _resume_point(url: str, part: Path) -> tuple[int, str]:
    """Return how much there is of the same version of the same address, and its validator."""
    try:
        known = json.loads(_note(part).read_text())
    except (FileNotFoundError, ValueError):
        return 0, ""
    same = isinstance(known, dict) and known.get("url") == url and known.get("validator")
    return (_size(part), known["validator"]) if same else (0, "")


def _remember(url: str, part: Path, response: Any) -> None:
    etag = response.headers.get("ETag") or ""
    weak = not etag or etag.startswith("W/")
    validator = response.headers.get("Last-Modified") if weak else etag
    write_atomic(_note(part), json.dumps({"url": url, "validator": validator}))


def _verify(part: Path, path: Path, file: RawFile) -> None:
    size, sha256 = part.stat().st_size, sha256_of(part)
    if file.size is not None and size != file.size:
        raise _Wrong(f"has {size} bytes, should be {file.size}")
    if file.sha256 is not None and sha256 != file.sha256:
        raise _Wrong(f"has sha256 {sha256}, should be {file.sha256}")
    if file.md5 is not None:
        with part.open("rb") as data:
            md5 = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if md5 != file.md5:
            raise _Wrong(f"has md5 {md5}, should be {file.md5}")
    if file.sha256 is None and file.md5 is None:
        _hold_to_the_first(path, sha256, size)


def _hold_to_the_first(path: Path, sha256: str, size: int) -> None:
    ledger = path.parent / ".seen.json"
    with reading(ledger):
        seen = json.loads(ledger.read_text()) if ledger.is_file() else {}
        first = seen.setdefault(path.name, {"sha256": sha256, "bytes": size})["sha256"]
    if first != sha256:
        raise _Wrong(
            f"has sha256 {sha256}, the first download had {first}; "
            f"if that one was wrong, delete {ledger}"
        )
    write_atomic(ledger, json.dumps(seen, indent=1))
    _log.warning("%s: no checksum is published; recorded sha256 %s.", path.name, sha256)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
