"""Data sets: a name, a file or a data frame becomes a numeric matrix with labels.

Whatever was done on the way (columns encoded, cells filled, columns left out) is said in
:attr:`Dataset.notes`; whatever cannot be done without guessing is refused with the repair.
scikit-learn, pyarrow and narwhals are imported by the functions that need them, so that
listing data sets and printing help stay fast.
"""

from entangle.datasets.dataset import Dataset
from entangle.datasets.loading import load_dataset
from entangle.datasets.registry import DATA_VARIABLE, DatasetInfo, available_datasets
from entangle.datasets.table_writing import write_table
from entangle.datasets.tables import table_to_dataset

__all__ = [
    "DATA_VARIABLE",
    "Dataset",
    "DatasetInfo",
    "available_datasets",
    "load_dataset",
    "table_to_dataset",
    "write_table",
]
