"""The one seam for parallel work: an executor maps, or the calling thread does.

Any :class:`concurrent.futures.Executor` serves; a Dask client's ``get_executor()`` is one, so
a cluster is an argument and not a mode. Results come in the order of the items whatever the
executor, so nothing downstream depends on it.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

__all__ = ["map_ordered"]

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
