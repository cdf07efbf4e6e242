"""Sets that scikit-learn brings along, and sets it fetches from OpenML."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from entangle.datasets.archives import drop_features
from entangle.datasets.completion import complete
from entangle.datasets.dataset import Dataset, Draft
from entangle.datasets.registry import DatasetInfo
from entangle.datasets.tables import table_to_dataset
from entangle.errors import DatasetError, InputError

__all__ = ["load_bundled", "load_openml"]


def load_bundled(info: DatasetInfo, target: str | None, drop: Sequence[str]) -> Dataset:
    """Load a set that scikit-learn brings along.

    Raises
    ------
    InputError
        If ``target`` names anything but the labels of the set.
    """
    from sklearn import datasets  # here: takes a second, and few calls need it

    if target not in (None, info.target):
        raise InputError(
            f"data set '{info.name}' comes with its labels, '{info.target}'; got target "
            f"'{target}'; leave target out"
        )
    bunch: Any = getattr(datasets, f"load_{info.name}")()
    names = tuple(map(str, bunch.feature_names))
    draft = Draft(bunch.data, bunch.target, info.shape or (len(names),), names, info.target)
    return complete(
        drop_features(draft, drop),
        name=info.name,
        source=f"{info.reference} ({info.source})",
        kind=info.kind,
        licence=info.licence,
    )


def load_openml(
    wanted: str,
    target: str | None = None,
    *,
    drop: Sequence[str] = (),
    impute: str | None = None,
    max_memory: int | None = None,
) -> Dataset:
    """Fetch a set of OpenML, by its name or number; needs the network and pandas.

    Raises
    ------
    DatasetError
        If it cannot be fetched.
    InputError
        If its table cannot be used, see :func:`table_to_dataset`.
    """
    from sklearn.datasets import fetch_openml  # here: takes a second, and few calls need it

    which: dict[str, Any] = {"data_id": int(wanted)} if wanted.isdecimal() else {"name": wanted}
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bunch: Any = fetch_openml(**which, as_frame=True, parser="auto")
    except (OSError, ValueError, ImportError) as reason:
        raise DatasetError(
            f"cannot fetch '{wanted}' from OpenML: {reason}; check the name and the network "
            "connection, install pandas (pip install pandas), or download the table elsewhere "
            "and pass the file"
        ) from reason
    if target is None and len(bunch.target_names or []) == 1:
        target = bunch.target_names[0]
    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
    number = bunch.details.get("id", wanted)
    return table_to_dataset(
        bunch.frame,
        target,
        drop=drop,
        impute=impute,
        name=f"openml:{wanted}",
        source=f"OpenML data set {number} (https://www.openml.org/d/{number})",
        notes=said,
        max_memory=max_memory,
    )
