"""Cards as text: for the terminal (`s4sweep data show`) and for docs/datasets.md."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data_prep.card import DatasetCard, amount
from data_prep.options import NoOptions, plain
from data_prep.registry import (
    dataset_card,
    dataset_module,
    dataset_names,
    raw_folder,
    stored_name,
)


def options_of(name: str) -> dict[str, dict[str, Any]]:
    """Return a data set's options: type, default, and whether it is only a view."""
    cls = getattr(dataset_module(name), "Options", NoOptions)
    hints = get_type_hints(cls)
    return {
        f.name: {
            "type": _type(hints[f.name]),
            "default": plain(f.default),
            "view": bool(f.metadata.get("view")),
        }
        for f in dataclasses.fields(cls)
    }


def _type(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        return " | ".join("null" if a is type(None) else _type(a) for a in args)
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _explained(name: str) -> str:
    """What the options' docstrings say, those of the classes they extend first."""
    cls = getattr(dataset_module(name), "Options", NoOptions)
    texts = [c.__doc__ for c in reversed(cls.__mro__) if "__doc__" in vars(c) and c is not object]
    return " ".join(inspect.cleandoc(t).replace("\n", " ") for t in texts if t)


def _facts(card: DatasetCard) -> list[tuple[str, str]]:
    facts = [
        ("source", card.source),
        ("licence", card.licence),
        ("citation", card.citation),
        ("shapes", card.shapes),
        ("units", card.units),
        ("splits", ", ".join(f"{n} {rows:,}" for n, rows in card.splits.items()) or "by options"),
        ("prepared", _prepared(card)),
        ("raw files", _raw_files(card)),
    ]
    for file in card.files:
        checks = [f"{k} {v}" for k in ("sha256", "md5") if (v := getattr(file, k))]
        unknown = "no published checksum (the first download is recorded)"
        facts.append(("file", ", ".join([file.shown, *(checks or [unknown])])))
    facts += [("differs", text) for text in card.differs]
    return [(key, value) for key, value in facts if value]


def _prepared(card: DatasetCard) -> str:
    stored = stored_name(card.name)
    if stored != card.name:
        return f"nothing: it is a view of {stored}, which is prepared in its place"
    return amount(card.cached_bytes) if card.cached_bytes else "by your files"


def _raw_files(card: DatasetCard) -> str:
    if not card.files and not card.layout:
        return ""
    folder = raw_folder(card.name, Path("<home>"))
    return f"in {folder}. {card.layout}".strip()


def card_text(name: str) -> str:
    """Return everything about a data set, for a terminal."""
    card = dataset_card(name)
    lines = [f"{name}: {card.title}", ""]
    for key, value in _facts(card):
        indent = " " * 12
        lines += textwrap.wrap(
            value, 98, initial_indent=f"{key:<12}", subsequent_indent=indent, break_long_words=False
        )
    options = options_of(name)
    lines += ["", "options (* prepares nothing anew):" if options else "no options"]
    for key, option in options.items():
        star = "*" if option["view"] else " "
        lines.append(f" {star}{key:<16} {option['type']}, default {option['default']!r}")
    if options:
        lines += ["", *textwrap.wrap(_explained(name), 98)]
    return "\n".join(lines)


def all_cards() -> str:
    """Return docs/datasets.md."""
    head = inspect.cleandoc(
        """
        # Data sets

        Made from the cards by `python -m data_prep.describe > docs/datasets.md`; a test keeps it
        up to date. A sweep names one in its `data` block, with options beside the name:

        ```yaml
        data: {name: pathfinder, resolution: 128}
        ```

        Raw files are looked for in the folder that the card names, or where `raw: FOLDER` in the
        block says (from the folder of the YAML that says it; `~` is your home). `s4sweep data
        prepare NAME` downloads what has an address, and makes the prepared files once; options
        marked as views prepare nothing anew.
        """
    )
    return head + "\n\n" + "\n".join(_section(name) for name in dataset_names())


def _section(name: str) -> str:
    card = dataset_card(name)
    lines = [f"## {name}", "", f"{card.title}.", ""]
    lines += [f"- {key}: {value}" for key, value in _facts(card)]
    options = options_of(name)
    if options:
        lines += ["", "| option | type | default | view |", "|---|---|---|---|"]
        for key, option in options.items():
            kind = option["type"].replace("|", "\\|")
            shown = f"`{option['default']!r}`"
            lines.append(f"| {key} | {kind} | {shown} | {'yes' if option['view'] else ''} |")
        lines += ["", _explained(name)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(all_cards(), end="")
