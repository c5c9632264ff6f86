"""The folder `datasets/` is the registry: one file a data set, nothing to register.

A data set's module holds `CARD` and at most these names (the rest is in the file's own words):

CARD: DatasetCard                         what it is
Options                                   a frozen, keyword-only dataclass with all defaults
columns(raw, split) -> {name: Column}     what a stored row is
examples(raw, split) -> iterator of rows  reads the raw files; a row maps column names to values
sources(raw) -> files                     the raw files that count (default: the card's)
files(options) -> (RawFile, ...)          what to download (default: the card's files)
survey(raw) -> JSON-ready facts           what must be known of the whole before the first row;
                                          names that begin with _ are not kept in the manifest
glance(raw)                               of files that users bring: raises DataError for what is
                                          wrong with them at first sight (`s4sweep check`)
sizes(options) -> {split: rows}           of a generated data set, together with
generate(options, split, shard) -> rows   which replaces `examples`; shards are independent streams
SHARD_ROWS: int                           how many rows a shard has
DISTINCT: bool                            whether a row that was drawn before is drawn anew
view(stored) -> View                      how stored rows become batches
RAW                                       the name of its raw folder (default: its own)
STORED_AS                                 the data set whose prepared files this one is a view of

Splits are the keys of `sizes`, else of `SPLITS` (default: train, val, test).
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import data_prep.datasets
from data_prep.card import DatasetCard, RawFile
from data_prep.errors import DataError, nearest
from data_prep.options import NoOptions, make_options

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Raw:
    """What a data set's functions are given: its raw folder, its options, and `survey`'s facts."""

    folder: Path
    options: Any
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def dataset_names() -> tuple[str, ...]:
    """Return the names of the data sets that come with this package."""
    found = pkgutil.iter_modules(data_prep.datasets.__path__)
    return tuple(sorted(m.name for m in found if not m.name.startswith("_")))


def dataset_module(name: str) -> ModuleType:
    """Import the module of a data set; a dotted name (`my_lab.foo`) is a module of the user's own.

    Raises DataError with the choices and the nearest one for a name that does not exist.
    """
    target = name if "." in name else f"data_prep.datasets.{name}"
    if "." not in name and name not in dataset_names():
        raise DataError(f"no data set {name!r}: {nearest(name, dataset_names())}", key="name")
    try:
        if importlib.util.find_spec(target) is None:
            raise DataError(f"no module {name!r} for a data set on this Python's path.", key="name")
    except ModuleNotFoundError as error:
        raise DataError(f"cannot import the data set {name!r}: {error}.", key="name") from error
    module = importlib.import_module(target)
    if not isinstance(getattr(module, "CARD", None), DatasetCard):
        raise DataError(f"the module {name!r} has no CARD, so it is no data set.", key="name")
    lacks = [what for what in _needed(module) if not hasattr(module, what)]
    if lacks:
        raise DataError(f"the data set {name!r} has no {' and no '.join(lacks)}.", key="name")
    return module


def _needed(module: ModuleType) -> tuple[str, ...]:
    """Return what a module must have beside its card."""
    if hasattr(module, "STORED_AS"):
        return ()
    if hasattr(module, "sizes"):
        return ("columns", "generate", "SHARD_ROWS")
    return ("columns", "examples")


def dataset_card(name: str) -> DatasetCard:
    """Return the card of a data set."""
    card = dataset_module(name).CARD
    assert isinstance(card, DatasetCard)
    return card


def dataset_options(name: str, data: Mapping[str, Any] | None = None) -> Any:
    """Return the options of a data set, checked, from plain data (the block without `name`).

    `raw`, the folder of the raw files, may stand among them for every data set; it is no option.
    """
    module = dataset_module(name)
    given = {key: value for key, value in (data or {}).items() if key != "raw"}
    return make_options(getattr(module, "Options", NoOptions), given, dataset=name)


def stored_name(name: str) -> str:
    """Return the data set whose prepared files this one reads: itself, or what it is a view of."""
    stored: str = getattr(dataset_module(name), "STORED_AS", name)
    return stored


def raw_folder(name: str, home: Path, data: Mapping[str, Any] | None = None) -> Path:
    """Return the folder of a data set's raw files: `raw` in its block, or `<home>/raw/<name>`."""
    given = (data or {}).get("raw")
    if given is None:
        stored = stored_name(name)
        return home / "raw" / getattr(dataset_module(stored), "RAW", stored)
    if not isinstance(given, str | Path):
        raise DataError(f"{name}.raw wants the name of a folder, got {given!r}.", key="raw")
    return Path(given).expanduser()


def splits_of(module: ModuleType, options: Any) -> tuple[str, ...]:
    """Return the names of the stored parts, in the order in which they are built."""
    sizes: Callable[[Any], Mapping[str, int] | None] | None = getattr(module, "sizes", None)
    generated = sizes(options) if sizes else None
    if generated:
        return tuple(generated)
    names: tuple[str, ...] = getattr(module, "SPLITS", ("train", "val", "test"))
    return names


def files_of(module: ModuleType, options: Any) -> tuple[RawFile, ...]:
    """Return the published files that these options need."""
    files: tuple[RawFile, ...] = (
        module.files(options) if hasattr(module, "files") else module.CARD.files
    )
    return files


def sources_of(module: ModuleType, raw: Raw) -> tuple[Path, ...]:
    """Return the raw files that decide the content, whether or not they are there."""
    if hasattr(module, "sources"):
        files: Iterable[Path] = module.sources(raw)
        return tuple(files)
    return tuple(raw.folder / f.path for f in files_of(module, raw.options))
