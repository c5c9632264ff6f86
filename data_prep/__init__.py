"""Data: raw files to memory-mapped Arrow, once; numpy batches out. `open_dataset` is the way in."""

from data_prep.batches import Batch
from data_prep.card import DatasetCard, RawFile, Split, TaskInfo
from data_prep.dataset import Dataset, open_dataset
from data_prep.errors import Damaged, DataError, MissingRaw
from data_prep.fetch import Network
from data_prep.prepare import look, prepare
from data_prep.registry import dataset_card, dataset_names, dataset_options

__all__ = [
    "Batch",
    "Damaged",
    "DataError",
    "Dataset",
    "DatasetCard",
    "MissingRaw",
    "Network",
    "RawFile",
    "Split",
    "TaskInfo",
    "dataset_card",
    "dataset_names",
    "dataset_options",
    "look",
    "open_dataset",
    "prepare",
]
