"""The one seam for parallel work: an executor maps, or the calling thread does.

Any :class:`concurrent.futures.Executor` serves; a Dask client's ``get_executor()`` is one, so
a cluster is an argument and not a mode. Results come in the order of the items whatever the
executor, so nothing downstream depends on it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from entangle.errors import InputError

__all__ = ["map_ordered", "threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(
    function: Callable[[Item], Result], items: Iterable[Item], executor: Executor | None = None
) -> Iterator[Result]:
    """Results of ``function`` over ``items``, in order; work not begun is cancelled on error."""
    if executor is None:
        yield from map(function, items)
        return
    futures = [executor.submit(function, item) for item in items]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def threads(n_jobs: int | None) -> Iterator[Executor | None]:
    """Threads for the length of a block; none where the calling thread does.

    Parameters
    ----------
    n_jobs
        Number of threads; ``None`` is one, -1 one per core, -2 one less.

    Raises
    ------
    InputError
        If there are no such threads.
    """
    cores = os.cpu_count() or 1
    if n_jobs == 0 or (n_jobs is not None and n_jobs < -cores):
        raise InputError(f"n_jobs is a number of threads, or -1 for all, got {n_jobs}")
    number = 1 if n_jobs is None else n_jobs if n_jobs > 0 else cores + 1 + n_jobs
    if number == 1:
        yield None
        return
    with ThreadPoolExecutor(number) as executor:
        yield executor
