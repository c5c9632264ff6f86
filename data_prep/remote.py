"""A home in an object store (`s3://bucket/path`, `gs://bucket/path`), mirrored in a local folder.

Programs work on the mirror, an ordinary folder; what must outlive the machine is pushed, what
others wrote is pulled. A file is known to be the same by its size and its time, which after a
transfer is that of the object, so there is no index to lose. An object appears whole or not at all.
For S3 the usual AWS_ variables hold, AWS_ENDPOINT_URL among them (MinIO and others).
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import functools
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs

_CHUNK = 4 * 2**20
SCHEMES = ("s3", "gs")


@dataclasses.dataclass(frozen=True)
class Remote:
    """An object as the store lists it: size in bytes, time of its last change in nanoseconds."""

    size: int
    time_ns: int


@dataclasses.dataclass(frozen=True)
class Mirror:
    """The folder `local` and the place `url` that it mirrors; paths are relative to both."""

    url: str
    local: Path

    def objects(self, prefix: str = "") -> dict[str, Remote]:
        """Everything below a prefix, by path; {} if there is nothing."""
        system, root = self._place()
        base = f"{root}/{prefix}".rstrip("/")
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        with reachable(self.url):
            found = system.get_file_info(selector)
        return {
            info.path.removeprefix(f"{root}/"): Remote(info.size, info.mtime_ns)
            for info in found
            if info.type is fs.FileType.File
        }

    def pull(self, objects: Mapping[str, Remote], *, again: bool = False) -> list[str]:
        """Bring objects that the mirror lacks or has otherwise (`again`: in any case)."""
        brought = []
        for path, remote in objects.items():
            target = self.local / path
            if again or _stamp(target) != remote:
                content = self.read(path)
                if content is not None:
                    _write(target, content, remote.time_ns)
                    brought.append(path)
        return brought

    def push(self, paths: Iterable[str], *, known: Mapping[str, Remote] | None = None) -> list[str]:
        """Send files that the store lacks or has otherwise, in the order given; returns those.

        known: what `objects` said, if it was asked lately; else the store is asked for each.
        """
        sent = []
        for path in paths:
            source = self.local / path
            remote = self.look(path) if known is None else known.get(path)
            if source.is_file() and _stamp(source) != remote:
                self._send(source, path)
                sent.append(path)
        return sent

    def look(self, path: str) -> Remote | None:
        """One object's size and time; None if there is none."""
        system, root = self._place()
        with reachable(self.url):
            info = system.get_file_info(f"{root}/{path}")
        return Remote(info.size, info.mtime_ns) if info.type is fs.FileType.File else None

    def read(self, path: str) -> bytes | None:
        """An object's content; None if there is none."""
        system, root = self._place()
        with reachable(self.url):
            try:
                with system.open_input_stream(f"{root}/{path}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        """Make an object."""
        system, root = self._place()
        with reachable(self.url), system.open_output_stream(f"{root}/{path}") as stream:
            stream.write(content)

    def delete(self, path: str) -> None:
        """Remove an object, if it is there."""
        if self.look(path) is not None:
            system, root = self._place()
            with reachable(self.url):
                system.delete_file(f"{root}/{path}")

    def _send(self, source: Path, path: str) -> None:
        system, root = self._place()
        with source.open("rb") as file:
            with reachable(self.url), system.open_output_stream(f"{root}/{path}") as stream:
                while chunk := file.read(_CHUNK):
                    stream.write(chunk)
            remote = self.look(path)
            if remote is not None:
                # By its handle: another file may have taken the name meanwhile.
                os.utime(file.fileno(), ns=(remote.time_ns, remote.time_ns))

    def _place(self) -> tuple[Any, str]:
        scheme, _, path = self.url.partition("://")
        return file_system(scheme), path


def is_url(home: str) -> bool:
    """Whether a home lies in an object store."""
    return home.partition("://")[0] in SCHEMES and "://" in home


def mirror_of(url: str) -> Mirror:
    """The mirror of a home on this machine: in $S4SWEEP_MIRROR, else in ~/.cache/s4sweep.

    Raises ValueError for a URL that names no bucket, or has a password in it.
    """
    if not re.fullmatch(r"(s3|gs)://[\w.-]+(/[\w./-]*)?", url):
        raise ValueError(f"a home is s3://bucket/path or gs://bucket/path, got {url!r}.")
    url = url.rstrip("/")
    slug = re.sub(r"\W+", "-", url.partition("://")[2])
    name = f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    root = os.environ.get("S4SWEEP_MIRROR") or Path.home() / ".cache" / "s4sweep"
    return Mirror(url, Path(root).expanduser().absolute() / name)


@functools.cache
def file_system(scheme: str) -> Any:
    """The store's client; made once a process, since that costs up to a second."""
    if scheme == "gs":
        # Its own limit is a quarter of an hour; whoever can wait does so outside.
        return fs.GcsFileSystem(retry_time_limit=datetime.timedelta(seconds=15))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options: dict[str, Any] = {"connect_timeout": 10, "request_timeout": 60}
    if endpoint:
        options["endpoint_override"] = endpoint
    if region or endpoint:
        options["region"] = region or "us-east-1"
    return fs.S3FileSystem(**options)


class reachable:
    """Gives the errors of a store that is away an errno, so that they can be waited for."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and error.errno is None:
            text = " ".join(str(error).split())
            refused = any(w in text for w in ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS"))
            number = errno.EACCES if refused else errno.EREMOTEIO
            if "OAuth2 access token" in text:
                text = "no Google credentials: run `gcloud auth application-default login`"
            raise OSError(number, text, self._url) from error


def _stamp(path: Path) -> Remote | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Remote(found.st_size, found.st_mtime_ns)


def _write(target: Path, content: bytes, time_ns: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    part.write_bytes(content)
    os.utime(part, ns=(time_ns, time_ns))
    os.replace(part, target)
