"""Archives to folders, trusting nothing that is in them.

Only plain files and folders are taken, and only below the target: an absolute path, a way out
(`..`), a link or a device file is refused before anything is written. The folder appears whole,
with a note that names the archive and its sha256; an archive that ends early, or whose compression
has a wrong checksum, is refused.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from data_prep.atomic import write_atomic
from data_prep.errors import DataError
from data_prep.sources import UNPACKED, UNPACKING, reading, sha256_of


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar (any compression) or zip archive to `folder`, unless that is done; returns it.

    Raises DataError for an archive that is torn, or holds anything but files below the folder.
    """
    with FileLock(folder.with_name(folder.name + ".unpack.lock")):
        if (folder / UNPACKED).is_file():
            return folder
        if folder.exists():
            raise DataError(f"{folder} is in the way of unpacking {archive.name}: move it away.")
        # The lock is ours, so whoever left these is dead.
        for stale in folder.parent.glob(f"{folder.name}{UNPACKING}*"):
            shutil.rmtree(stale)
        temporary = folder.with_name(f"{folder.name}{UNPACKING}{secrets.token_hex(4)}")
        temporary.mkdir(parents=True)
        try:
            with reading(archive):
                count = _write(archive, temporary)
            note = {"archive": archive.name, "sha256": sha256_of(archive), "files": count}
            write_atomic(temporary / UNPACKED, json.dumps(note, indent=1))
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write(archive: Path, folder: Path) -> int:
    """Write every file of the archive below the folder; return how many there are."""
    count = 0
    for name, data in _members(archive):
        target = folder / _safe(name, archive)
        if target.exists():
            raise _refuse(archive, name, "is there twice")
        target.parent.mkdir(parents=True, exist_ok=True)
        with data, target.open("xb") as sink:
            shutil.copyfileobj(data, sink, 1 << 20)
        count += 1
    return count


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the data of every file; refuse whatever is neither file nor folder."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.is_dir():
                    _safe(info.filename, archive)
                    continue
                if kind not in (0, stat.S_IFREG):
                    raise _refuse(archive, info.filename, "is no plain file")
                yield info.filename, packed.open(info)
        return
    with tarfile.open(archive, "r:*") as stream:
        for member in stream:
            if member.isdir():
                _safe(member.name, archive)
                continue
            data = stream.extractfile(member) if member.isreg() else None
            if data is None:
                raise _refuse(archive, member.name, "is a link or a device")
            yield member.name, data
        _expect_end(stream)


def _expect_end(stream: tarfile.TarFile) -> None:
    """Raise ReadError unless the archive is whole: tarfile takes what is torn for the end.

    Reading on to the end of the file also has its compression compare the checksum.
    """
    file = stream.fileobj
    assert file is not None
    is_short = file.tell() < stream.offset + tarfile.BLOCKSIZE
    while block := file.read(1 << 20):
        is_short = is_short or block.strip(b"\0") != b""
    if is_short:
        raise tarfile.ReadError("it ends within a file, or has a damaged entry")


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or ":" in path.parts[:1]:
        raise _refuse(archive, name, "points out of the folder")
    return path


def _refuse(archive: Path, name: str, why: str) -> DataError:
    return DataError(f"{archive} holds {name!r}, which {why}: nothing of it was used.")
