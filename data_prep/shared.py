"""One prepared copy for a whole cluster, one local copy for each node.

A home in an object store keeps its prepared data there. Else two environment variables, both
optional, say where they are kept:

S4SWEEP_DATA_STORE   a URL (s3://, gs://, hdfs://, file://) or a folder that all nodes reach: what
                     one node has prepared is put there, manifest last, and others fetch it
S4SWEEP_NODE_DATA    a folder on the node's own disk, for homes on a shared file system: entries
                     are copied there, checked against their checksums and mapped from there

Training never reads through the network: files are mapped, and a page cache is a node's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs

from data_prep.cache import Entry, Request, answers, find, publish_once, whole_manifest
from data_prep.errors import Damaged, DataError
from data_prep.remote import SCHEMES, file_system, reachable
from data_prep.sources import sha256_of

_log = logging.getLogger(__name__)
Build = Callable[[Path], Mapping[str, Any]]
_CHUNK = 4 << 20


@dataclasses.dataclass(frozen=True)
class Store:
    """Published entries of one data set on any file system that pyarrow knows.

    Where it cannot be reached there is an OSError with an errno, which may be waited for.
    """

    files: pyarrow.fs.FileSystem
    root: str

    @classmethod
    def of(cls, url: str, name: str) -> Store:
        """Open a URL or a folder; raises DataError for one that cannot be understood."""
        scheme, _, path = url.rpartition("://")
        if not scheme:
            return cls(pyarrow.fs.LocalFileSystem(), str(Path(url).absolute() / name))
        try:
            if scheme in SCHEMES:
                files = file_system(scheme)
            else:
                files, path = pyarrow.fs.FileSystem.from_uri(url)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(f"cannot use the data store {url}: {error}") from error
        return cls(files, f"{path.rstrip('/')}/{name}")

    def manifest(self, fingerprint: str) -> dict[str, Any] | None:
        """Read an entry's manifest; None if the entry is not (wholly) there."""
        path = f"{self.root}/{fingerprint}/manifest.json"
        with reachable(self.root):
            try:
                with self.files.open_input_stream(path) as file:
                    content = bytes(file.read())
            except FileNotFoundError:
                return None
        return whole_manifest(content, path)

    def find(self, request: Request, raw: str) -> str | None:
        """Return the newest entry that answers a request, made from these raw files."""
        selector = pyarrow.fs.FileSelector(self.root, allow_not_found=True)
        with reachable(self.root):
            folders = [i for i in self.files.get_file_info(selector) if not i.is_file]
        found = []
        for name in (i.base_name for i in folders if "." not in i.base_name):
            with contextlib.suppress(Damaged):
                manifest = self.manifest(name)
                if manifest and answers(manifest, request, raw):
                    found.append((manifest["created"], name))
        return max(found)[1] if found else None

    def download(self, fingerprint: str, folder: Path) -> Mapping[str, Any]:
        """Copy an entry's files into a folder, checked; returns its manifest."""
        manifest = self.manifest(fingerprint)
        assert manifest is not None
        here = pyarrow.fs.LocalFileSystem()
        for file in manifest["files"]:
            source, target = f"{self.root}/{fingerprint}/{file['name']}", folder / file["name"]
            with reachable(self.root):
                pyarrow.fs.copy_files(source, str(target), self.files, here, chunk_size=_CHUNK)
            if sha256_of(target) != file["sha256"]:
                raise Damaged(f"{source} has another sha256 than was published: prepare it anew.")
        return manifest

    def upload(self, entry: Entry) -> None:
        """Copy an entry here, unless it is here: the manifest last, and so all or nothing."""
        if self.manifest(entry.fingerprint) is not None:
            return
        target, here = f"{self.root}/{entry.fingerprint}", pyarrow.fs.LocalFileSystem()
        is_whole = self.files.type_name in ("s3", "gcs")  # an object appears whole or not at all
        with reachable(self.root):
            self.files.create_dir(target, recursive=True)
            for name in [*(f["name"] for f in entry.manifest["files"]), "manifest.json"]:
                # Else under a passing name: another node may be doing the same.
                passing = f"{target}/{name}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
                put = f"{target}/{name}" if is_whole else passing
                pyarrow.fs.copy_files(
                    str(entry.folder / name), put, here, self.files, chunk_size=_CHUNK
                )
                if not is_whole:
                    self.files.move(put, f"{target}/{name}")


@dataclasses.dataclass(frozen=True)
class Places:
    """Where one data set's entries are: in the home, in a store, on the node's own disk."""

    home: Path
    local: Path
    store: Store | None = None

    @classmethod
    def of(cls, home: Path, name: str, store: str | None = None) -> Places:
        """Read the two environment variables; store: a URL that goes before the first."""
        published = home / "data" / name
        node = os.environ.get("S4SWEEP_NODE_DATA")
        url = store or os.environ.get("S4SWEEP_DATA_STORE")
        return cls(
            home=published,
            local=Path(node).expanduser() / name if node else published,
            store=Store.of(url, name) if url else None,
        )

    def find(self, request: Request, raw: str) -> str | None:
        """Return the newest entry that answers a request, made from these raw files, anywhere."""
        for folder in dict.fromkeys((self.local, self.home)):
            entry = find(folder, request, raw)
            if entry is not None:
                return entry.fingerprint
        return self.store.find(request, raw) if self.store else None

    def publish(self, fingerprint: str, build: Build) -> Entry:
        """Return the entry on this node, from wherever it is soonest had; built if nowhere.

        Only one process of a node copies or builds, the others wait for it.
        """
        if self.local == self.home:
            return self._in_home(fingerprint, build)

        def copy(folder: Path) -> Mapping[str, Any]:
            self._in_home(fingerprint, build)
            return Store.of(str(self.home.parent), self.home.name).download(fingerprint, folder)

        return publish_once(self.local, fingerprint, copy)[0]

    def _in_home(self, fingerprint: str, build: Build) -> Entry:
        store = self.store
        if store is None:
            return publish_once(self.home, fingerprint, build)[0]

        def fetch_or_build(folder: Path) -> Mapping[str, Any]:
            if store.manifest(fingerprint) is not None:
                return store.download(fingerprint, folder)
            return build(folder)

        entry, _ = publish_once(self.home, fingerprint, fetch_or_build)
        try:
            store.upload(entry)
        except OSError as error:
            # The entry is good here; other nodes will have to make it themselves.
            _log.warning("cannot put %s into the data store: %s", entry.folder, error)
        return entry
