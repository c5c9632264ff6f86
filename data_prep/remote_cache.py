"""Prepared data in an object store: built once, then every node brings them to its own disk."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from data_prep.cache import Entry, Request, find
from data_prep.options import stored_options
from data_prep.registry import dataset_module, dataset_options
from data_prep.remote import Mirror

_MANIFEST = "manifest.json"


def bring_entry(mirror: Mirror, name: str, options: Mapping[str, Any]) -> bool:
    """Bring the entry that answers (name, options), if the store has it and the mirror has not.

    The files are checked like any other entry when the data set is opened.
    """
    request = _request(name, options)
    folder = mirror.local / "data" / request.name
    if find(folder, request, None) is not None:
        return True
    prefix = f"data/{request.name}"
    objects = mirror.objects(prefix)
    for path in (p for p in objects if p.endswith(f"/{_MANIFEST}")):
        manifest = json.loads(mirror.read(path) or b"{}")
        if manifest.get("request") == request.key:
            fingerprint = path.split("/")[-2]
            _bring(mirror, f"{prefix}/{fingerprint}", folder / fingerprint)
            return True
    return False


def _bring(mirror: Mirror, prefix: str, target: Path) -> None:
    """Bring a folder whole: others on this machine wait for the one that does it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if target.exists():
            return
        draft = target.with_name(f"{target.name}.tmp-{os.uname().nodename}-{secrets.token_hex(4)}")
        try:
            inner = Mirror(f"{mirror.url}/{prefix}", draft)
            inner.pull(inner.objects(), again=True)
            os.rename(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def send_entry(mirror: Mirror, name: str, options: Mapping[str, Any]) -> bool:
    """Send the entry that answers (name, options), its manifest last; False if it was there."""
    request = _request(name, options)
    entry = find(mirror.local / "data" / request.name, request, None)
    assert entry is not None, f"{name} has been opened and is not in the cache"
    prefix = f"data/{request.name}/{entry.fingerprint}"
    if mirror.look(f"{prefix}/{_MANIFEST}") is not None:
        return False
    mirror.push([f"{prefix}/{name}" for name in _files(entry)], known={})
    return True


def _files(entry: Entry) -> list[str]:
    return [*(file["name"] for file in entry.manifest["files"]), _MANIFEST]


def _request(name: str, options: Mapping[str, Any]) -> Request:
    module = dataset_module(name)
    made = dataset_options(name, options)
    if hasattr(module, "STORED_AS"):
        return _request(module.STORED_AS, stored_options(made))
    return Request(name, module.CARD.version, stored_options(made))
