"""The cache of prepared data: `<home>/data/<name>/<fingerprint>/{*.arrow, manifest.json}`.

An entry is built once, under a file lock, in a temporary folder, and appears by one rename; its
manifest is the last file written. Readers take no lock. Every open checks sizes, schemas and row
counts (about 1 ms); the first open on a node also checks each sha256 (1.4 GB/s) and leaves a
`.verified-<host>` note. A damaged entry is moved aside to `.bad-<time>` and built again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from data_prep.arrow import Column, Part
from data_prep.atomic import fsync, write_atomic
from data_prep.card import Split
from data_prep.errors import Damaged, DataError
from data_prep.sources import sha256_of

SCHEMA_VERSION = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of the cache: everything that decides the prepared bytes but the raw files."""

    name: str
    version: int
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A checksum of the request."""
        return _digest({"schema": SCHEMA_VERSION, **dataclasses.asdict(self)})

    def fingerprint(self, source: str | None) -> str:
        """The name of the entry, given the checksum of the raw files (None: there are none)."""
        return _digest({"request": self.key, "source": source})[:16]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A published folder and what its manifest says."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The entry's name."""
        return self.folder.name

    @property
    def splits(self) -> dict[str, Split]:
        """The stored parts."""
        return {n: Split.from_json(s) for n, s in self.manifest["splits"].items()}

    @property
    def bytes(self) -> int:
        """Size of the entry's data files."""
        return sum(f["bytes"] for f in self.manifest["files"])

    def part(self, split: str) -> Part:
        """Map one part; raises Damaged if a file is not what was published."""
        described = self.manifest["splits"][split]
        columns = {n: Column.from_json(c) for n, c in described["columns"].items()}
        part = Part([self.folder / name for name in described["files"]], columns)
        if part.rows != described["rows"]:
            raise Damaged(f"{self.folder}: {split} has {part.rows} rows, not {described['rows']}.")
        return part

    def check_sizes(self) -> None:
        """Raise Damaged unless every file is there and has its published size."""
        for file in self.manifest["files"]:
            path = self.folder / file["name"]
            size = path.stat().st_size if path.is_file() else None
            if size != file["bytes"]:
                raise Damaged(f"{path} has {size} bytes, its manifest says {file['bytes']}.")

    def check_contents(self) -> None:
        """Raise Damaged unless every file has its published sha256."""
        self.check_sizes()
        for file in self.manifest["files"]:
            if sha256_of(self.folder / file["name"]) != file["sha256"]:
                raise Damaged(
                    f"{self.folder / file['name']} has another sha256 than was published."
                )


def find(folder: Path, request: Request, raw: str) -> Entry | None:
    """Return the newest whole entry that answers the request, made from the raw files in `raw`."""
    found = []
    for name in _published(folder):
        with contextlib.suppress(Damaged):
            entry = read_entry(folder / name)
            if entry is not None and answers(entry.manifest, request, raw):
                found.append(entry)
    return max(found, key=lambda e: e.manifest["created"], default=None)


def answers(manifest: Mapping[str, Any], request: Request, raw: str) -> bool:
    """Whether an entry is what is asked for, made from the raw files meant."""
    return bool(manifest["request"] == request.key and manifest.get("raw") == raw)


def read_entry(folder: Path) -> Entry | None:
    """Read a published folder's manifest; None if there is no such folder."""
    path = folder / "manifest.json"
    try:
        return Entry(folder, whole_manifest(path.read_bytes(), str(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None


def whole_manifest(content: bytes, place: str) -> dict[str, Any]:
    """Read a manifest; raises Damaged where it is not what was published at `place`."""
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise Damaged(f"{place} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= {"files", "splits", "request"}:
        raise Damaged(f"{place} is no manifest.")
    # Manifests had no checksum of their own once.
    if manifest.get("sha256", digest := _manifest_digest(manifest)) != digest:
        raise Damaged(f"{place} has another sha256 than was published.")
    return manifest


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    return _digest({key: value for key, value in manifest.items() if key != "sha256"})


def _published(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and "." not in p.name)


def publish_once(
    folder: Path, fingerprint: str, build: Callable[[Path], Mapping[str, Any]]
) -> tuple[Entry, bool]:
    """Return the good entry `fingerprint`, building it if need be, and whether it was built here.

    `build(temporary folder)` writes the data files and returns the manifest without `files`. Any
    number of processes may call this at once: one builds, the others wait for it. Raises DataError
    when the disk is full; what was published before stays whole.
    """
    target = folder / fingerprint
    if (entry := _good(target)) is not None:
        return entry, False
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{fingerprint}.lock"):
        if (entry := _good(target)) is not None:
            return entry, False
        if target.exists():
            os.rename(target, folder / f"{fingerprint}.bad-{time.time_ns()}")
        # The lock is ours, so whoever left these on this host is dead.
        for stale in folder.glob(f"{fingerprint}.tmp-{platform.node()}-*"):
            shutil.rmtree(stale)
        with _temporary(folder, fingerprint) as temporary:
            manifest = dict(build(temporary))
            files = sorted(temporary.glob("*.arrow"))
            manifest["files"] = [_describe(path) for path in files]
            manifest.setdefault("created", time.time())
            manifest["sha256"] = _manifest_digest(manifest)
            write_atomic(temporary / "manifest.json", json.dumps(manifest, indent=1))
            fsync(temporary)
            try:
                os.rename(temporary, target)
            except OSError as error:
                # A file system whose locks do not reach other nodes: somebody was quicker.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(temporary)
                entry = _good(target)
                if entry is None:
                    raise Damaged(f"{target}, published by another node, is damaged.") from error
                return entry, False
            fsync(folder)
        entry = Entry(target, manifest)
        _note_verified(entry)
        return entry, True


def _good(target: Path) -> Entry | None:
    """Return the entry if it is there and whole, None if it is absent or damaged."""
    try:
        entry = read_entry(target)
        if entry is None:
            return None
        entry.check_sizes()
        for split in entry.manifest["splits"]:
            entry.part(split)
        if not os.access(target.parent, os.W_OK):
            # A shared cache that this user may only read: there is no place for a note.
            entry.check_contents()
        elif not _is_verified(entry):
            with FileLock(target.with_name(f"{target.name}.verify-{platform.node()}.lock")):
                if not _is_verified(entry):
                    entry.check_contents()
                    _note_verified(entry)
    except Damaged:
        return None
    return entry


def _stamp(entry: Entry) -> list[list[Any]]:
    stats = [(f["name"], (entry.folder / f["name"]).stat()) for f in entry.manifest["files"]]
    return [[name, s.st_size, s.st_mtime_ns, s.st_ino] for name, s in stats]


def _note_path(entry: Entry) -> Path:
    return entry.folder.with_name(f"{entry.fingerprint}.verified-{platform.node()}")


def _is_verified(entry: Entry) -> bool:
    try:
        return bool(json.loads(_note_path(entry).read_text()) == _stamp(entry))
    except (FileNotFoundError, ValueError):
        return False


def _note_verified(entry: Entry) -> None:
    write_atomic(_note_path(entry), json.dumps(_stamp(entry)))


@contextlib.contextmanager
def _temporary(folder: Path, fingerprint: str) -> Iterator[Path]:
    name = f"{fingerprint}.tmp-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
    path = folder / name
    path.mkdir()
    try:
        yield path
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        if error.errno not in _FULL:
            raise
        free = shutil.disk_usage(folder).free
        raise DataError(
            f"cannot write {folder / fingerprint}: {error.strerror} ({free / 1e6:.0f} MB free); "
            "make room or choose another home. What was published before is whole."
        ) from error
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _describe(path: Path) -> dict[str, Any]:
    fsync(path)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
