"""What there is to choose from: the folders of models, data sets, samplers and pruners.

A name with a dot (`my_lab.foo`) is a module of the user's own; it is imported only where that is
allowed, since importing runs its code.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Literal

from s4core.config import nearest

Kind = Literal["samplers", "pruners"]


class NoSuchName(ValueError):
    """A name that is not in the folder, or an outside name where imports are not allowed."""


def names(kind: Kind) -> tuple[str, ...]:
    """List the files of a folder."""
    folder = importlib.import_module(f"sweeps.{kind}")
    found = pkgutil.iter_modules(folder.__path__)
    return tuple(sorted(m.name for m in found if not m.name.startswith("_")))


def load(kind: Kind, name: str, *, allow_imports: bool = True) -> ModuleType:
    """Import the file of a sampler or pruner; raises NoSuchName with the nearest choice."""
    check_outside(name, allow_imports=allow_imports)
    if "." not in name and name not in names(kind):
        raise NoSuchName(f"no {kind[:-1]} {name!r}: {nearest(name, names(kind))}")
    try:
        return importlib.import_module(name if "." in name else f"sweeps.{kind}.{name}")
    except ModuleNotFoundError as error:
        raise NoSuchName(f"cannot import the {kind[:-1]} {name!r}: {error}.") from error


def check_outside(name: str, *, allow_imports: bool) -> None:
    """Refuse an outside name where imports are not allowed, and one that names no module."""
    if not all(name.split(".")):
        raise NoSuchName(f"{name!r} names no module: wants a name such as my_lab.foo.")
    if "." in name and not allow_imports:
        raise NoSuchName(f"{name!r} is code outside this package; allow it with --allow-imports.")
