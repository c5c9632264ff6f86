"""What the raw files are: their checksums, remembered so that an open costs a `stat` a file.

The ledger (a JSON file beside the data set's cache) maps a file to its size, its modification time
and its sha256; a file whose size and time have not changed is not read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.atomic import write_atomic
from data_prep.errors import DataError

_BLOCK = 1 << 22
# What readers of archives, tables, texts and JSON raise for bytes that are not what they should be;
# gzip's and bz2's complaints are an OSError without a number.
_DAMAGE = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
UNPACKED = ".unpacked.json"  # written by unpack.py: stands for all files of its folder
UNPACKING = ".tmp-"  # in the name of a folder that unpack.py is still at, or was killed at


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of a damaged raw file which one it is: what its reader raises becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # no permission, a full disk, ...: it names its file itself
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise DataError(f"{path} cannot be read ({why}): mend it, or fetch it again.") from error


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read in blocks (about 1.4 GB/s)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def identify(files: Sequence[Path], *, root: Path, ledger: Path) -> str:
    """Return one checksum over the names (relative to `root`) and the contents of `files`."""
    known = _read(ledger)
    seen: dict[str, list[Any]] = {}
    digest = hashlib.sha256()
    for path in sorted(files):
        stat = path.stat()
        key = str(path.absolute())
        entry = known.get(key)
        if not isinstance(entry, list) or entry[:-1] != [stat.st_size, stat.st_mtime_ns]:
            entry = [stat.st_size, stat.st_mtime_ns, sha256_of(path)]
        seen[key] = entry
        name = os.path.relpath(path, root) if path.is_relative_to(root) else path.name
        digest.update(f"{name}\0{entry[2]}\n".encode())
    if any(known.get(k) != v for k, v in seen.items()):
        write_atomic(ledger, json.dumps({**known, **seen}))
    return digest.hexdigest()


def locate(folder: Path, marker: str, *, depth: int = 3) -> Path | None:
    """Return the folder that holds `marker`: `folder` itself, or one at most `depth` below it."""
    if (folder / marker).exists():
        return folder
    if depth == 0 or not folder.is_dir():
        return None
    folders = (p for p in sorted(folder.iterdir()) if p.is_dir() and UNPACKING not in p.name)
    below = (locate(p, marker, depth=depth - 1) for p in folders)
    return next((p for p in below if p is not None), None)


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match, but for those that unpack.py is still at."""
    found = (p for p in folder.rglob(pattern) if p.is_file())
    return sorted(p for p in found if UNPACKING not in str(p.relative_to(folder).parent))


def tree(folder: Path, marker: str, *, pattern: str = "*") -> tuple[Path, ...]:
    """Return the files that decide the content of the folder with `marker` in it.

    For a folder that was unpacked here that is the note about its archive alone (so that an open
    does not look at 100,000 files); else all files that match `pattern`. If there is no such
    folder, the path of the absent marker.
    """
    root = locate(folder, marker)
    if root is None:
        return (folder / marker,)
    for place in (root, *root.parents):
        if (place / UNPACKED).is_file():
            return (place / UNPACKED,)
        if place == folder:
            break
    return tuple(files_below(root, pattern))


def _read(ledger: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(ledger.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
