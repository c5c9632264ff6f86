"""What is known of a data set before a byte of it is read (`DatasetCard`), and what a model needs
to know of its task (`TaskInfo`); both are plain data and round-trip through JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Target = Literal["class", "step_class", "value", "step_value"]


def amount(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """The shape of a task; field for field what a model is built for.

    d_input: channels of a float input, or the size of the vocabulary when `tokens`.
    d_output: classes or regression values.
    length: longest sequence, in steps; for images of several axes their product.
    target: "class" one label a sequence, "step_class" one a step, "value" d_output numbers a
        sequence, "step_value" d_output numbers a step.
    ragged: sequences have their own lengths, and x is padded on the right with 0.
    pairs: the batch holds 2 B documents, the first of each pair in rows 0..B-1.
    irregular: each step comes with the time since the one before it.
    axes: extents of each axis (row-major, product = length); () for plain sequences.
    """

    d_input: int
    d_output: int
    length: int
    tokens: bool = False
    target: Target = "class"
    ragged: bool = False
    pairs: bool = False
    irregular: bool = False
    axes: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; `TaskInfo(**data)` is the inverse."""
        return {**dataclasses.asdict(self), "axes": list(self.axes)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawFile:
    """One file that its publisher offers.

    path: where it belongs, relative to the data set's raw folder.
    urls: where it can be had, best first; () when it must be brought by hand.
    size: bytes, sha256 and md5: as published; None where nobody published them (then what is
        seen on the first download is recorded beside the file and held against later ones).
    about: bytes, roughly, where the size is not published; told to people, held against nothing.
    unpack: for an archive whose content is used, the folder (also relative) that it is unpacked to.
    """

    path: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    about: int | None = None
    sha256: str | None = None
    md5: str | None = None
    unpack: str | None = None

    @property
    def shown(self) -> str:
        """Its path and how large it is, for people."""
        if self.size is not None:
            return f"{self.path} ({amount(self.size)})"
        about = "size not published" if self.about is None else f"about {amount(self.about)}"
        return f"{self.path} ({about})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """One part of a prepared data set; `classes` counts the rows of each label, if it has any."""

    rows: int
    classes: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data; the inverse is `from_json`."""
        return {"rows": self.rows, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Split:
        """Read what `to_json` wrote."""
        return cls(rows=data["rows"], classes=tuple(data["classes"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """Everything a reader wants to know of a data set without preparing it.

    version: raised by hand whenever `examples` or `generate` writes other bytes than before.
    shapes: the model's input and target in words; units: what a number in x means.
    splits: rows of each split as published, for the default options; {} when they depend on the
        user's files. cached_bytes: size of the prepared files, 0 when it depends on the user.
    differs: what differs between published pipelines, and which one the options reproduce.
    """

    name: str
    title: str
    source: str
    licence: str
    citation: str
    version: int
    shapes: str
    units: str
    splits: Mapping[str, int]
    cached_bytes: int
    files: tuple[RawFile, ...] = ()
    layout: str = ""
    differs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `--json` and the documents."""
        return {**dataclasses.asdict(self), "splits": dict(self.splits)}
