"""A prepared data set, ready to give batches: `open_dataset` is the way in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.arrow import Part
from data_prep.audio import write_sound
from data_prep.batches import Batch, batch_indices
from data_prep.cache import Entry
from data_prep.card import DatasetCard, Split, TaskInfo
from data_prep.errors import DataError, nearest
from data_prep.fetch import Network, Progress
from data_prep.prepare import prepare
from data_prep.registry import dataset_module, dataset_options
from data_prep.transforms import Dense, Sound, Stored, Subset, View, converted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A prepared and mapped data set.

    on_device: batches keep the stored dtype (int16, uint8) with `scale` and `shift` for the
    trainer to apply after the transfer, which halves or quarters the bytes that are moved.
    """

    card: DatasetCard
    options: Any
    entry: Entry
    view: View
    parts: Mapping[str, Part]
    on_device: bool = False

    @property
    def task(self) -> TaskInfo:
        """What a model must be built for."""
        return self.view.task

    @property
    def fingerprint(self) -> str:
        """The name of the cache entry: it changes with the raw files, the options, the recipe."""
        return self.entry.fingerprint

    @property
    def splits(self) -> dict[str, Split]:
        """Rows, and rows of each class, by split."""
        if not self.view.splits:
            return self.entry.splits
        return {name: self._describe(subset) for name, subset in self.view.splits.items()}

    @property
    def reading(self) -> dict[str, Any]:
        """What one must know to give a model other rows: classes by name, and x as stored times
        scale plus shift, a number a channel; what a data set does not say is left out."""
        said = {"classes": self.entry.manifest["facts"].get("classes")}
        said |= {key: list(getattr(self.view.read, key, ())) for key in ("scale", "shift")}
        return {key: value for key, value in said.items() if value}

    def size(self, split: str) -> int:
        """Return the number of examples of a split (a pair of documents counts as one)."""
        subset = self._subset(split)
        return self.parts[subset.part].rows if subset.index is None else len(subset.index)

    def _describe(self, subset: Subset) -> Split:
        if subset.index is None:
            return self.entry.splits[subset.part]
        part = self.parts[subset.part]
        classes: tuple[int, ...] = ()
        if self.task.target == "class" and "y" in part.columns:
            y = part.gather("y", subset.index)
            y = y if self.view.labels is None else self.view.labels[y]
            classes = tuple(np.bincount(y, minlength=self.task.d_output).tolist())
        return Split(rows=len(subset.index), classes=classes)

    def batches(
        self,
        split: str,
        *,
        batch_size: int,
        epoch: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch, a pure function of the arguments (see `batch_indices`).

        Raises DataError for a split that the data set does not have.
        """
        subset = self._subset(split)
        part = self.parts[subset.part]
        if self.view.streams is not None and shuffle:
            yield from self.view.streams(
                part,
                batch_size=batch_size,
                epoch=epoch,
                seed=seed,
                drop_last=drop_last,
                rank=rank,
                world=world,
            )
            return
        bucket = self.view.bucket if self.task.ragged and shuffle else 0
        lengths = part.lengths("x", subset.index) if bucket > 1 else None
        for index in batch_indices(
            self.size(split),
            batch_size=batch_size,
            epoch=epoch,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world=world,
            lengths=lengths,
            bucket=bucket,
        ):
            # Nothing of a batch is held here while the caller works: its memory serves the next.
            yield self._read(part, index if subset.index is None else subset.index[index], index)

    def _read(self, part: Part, stored: np.ndarray, index: np.ndarray) -> Batch:
        batch = self.view.read(part, stored)
        y = batch.y if self.view.labels is None else self.view.labels[batch.y]
        batch = dataclasses.replace(batch, y=y, index=index)
        return batch if self.on_device else converted(batch)

    def write_row(self, tokens: np.ndarray, stem: Path) -> Path:
        """Write a row of tokens (length,) as what it stands for: `stem`.wav, .txt, or else .npy."""
        made = tokens if self.view.decode is None else self.view.decode(tokens)
        if isinstance(made, Sound):
            return write_sound(stem.with_name(f"{stem.name}.wav"), made.signal, made.sample_rate)
        if isinstance(made, str):
            path = stem.with_name(f"{stem.name}.txt")
            path.write_text(made, encoding="utf-8")
            return path
        path = stem.with_name(f"{stem.name}.npy")
        np.save(path, made)
        return path

    def _subset(self, split: str) -> Subset:
        subsets = self.view.splits or {name: Subset(part=name) for name in self.parts}
        if split not in subsets:
            raise DataError(f"{self.card.name} has no split {split!r}: {nearest(split, subsets)}")
        return subsets[split]


def open_dataset(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    home: Path,
    raw: Path | None = None,
    store: str | None = None,
    network: Network | None = None,
    on_device: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Open a data set, preparing it first if nobody has (under `<home>/data/<name>/`).

    name: a file of `data_prep/datasets/`, or a dotted module of the user's own; options: its
    Options as plain data; raw: the folder of its raw files (default `<home>/raw/<name>`);
    store: a URL where prepared data are shared (default: $S4SWEEP_DATA_STORE, if set);
    network: how to download missing raw files (None: nothing is downloaded); on_device: see
    Dataset; progress: told (what, done, in all or 0) while it is prepared.
    Raises DataError, in one line that says what to do.
    """
    module = dataset_module(name)
    made = dataset_options(name, options)
    entry = prepare(
        name, options, home=home, raw=raw, store=store, network=network, progress=progress
    )
    parts = {split: entry.part(split) for split in entry.splits}
    stored = Stored(
        options=made,
        facts=entry.manifest["facts"],
        splits=entry.splits,
        part=parts.__getitem__,
    )
    view = module.view(stored) if hasattr(module, "view") else _plain_view(name, stored)
    _check_classes(name, view, entry)
    return Dataset(
        card=module.CARD, options=made, entry=entry, view=view, parts=parts, on_device=on_device
    )


def _check_classes(name: str, view: View, entry: Entry) -> None:
    """Raise DataError for raw files with a class that the task does not have."""
    if view.task.target != "class" or view.labels is not None:
        return
    for split, stored in entry.splits.items():
        if len(stored.classes) > view.task.d_output:
            raise DataError(
                f"{name}: a row of {split} has the class {len(stored.classes) - 1}, and the task "
                f"classes 0 to {view.task.d_output - 1}: mend the raw files ({entry.folder})."
            )


def _plain_view(name: str, stored: Stored) -> View:
    """The view of a module that has none: float x of one shape, y a class or a value."""
    columns = stored.part(next(iter(stored.splits))).columns
    x, y = columns["x"], columns["y"]
    if x.shape is None or np.dtype(x.dtype).kind != "f":
        raise DataError(f"{name} stores x as {x}: its module needs a function view(stored).")
    is_value = np.dtype(y.dtype).kind == "f"
    classes = max(len(s.classes) for s in stored.splits.values())
    channels = x.shape[1] if len(x.shape) > 1 else 1
    task = TaskInfo(
        d_input=channels,
        d_output=max(y.size, 1) if is_value else classes,
        length=x.shape[0],
        target="value" if is_value else "class",
    )
    return View(task=task, read=Dense(channels=channels))
