"""The one seam for parallel work: an executor maps, or the calling thread does.

Any :class:`concurrent.futures.Executor` serves; a Dask client's ``get_executor()`` is one, so
a cluster is an argument and not a mode. Results come in the order of the items whatever the
executor, so nothing downstream depends on it.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from joblib import Parallel, delayed
from threadpoolctl import ThreadpoolController

from entangle.errors import InputError

__all__ = [
    "map_completed",
    "map_in_blocks",
    "map_ordered",
    "one_blas_thread",
    "threads",
]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(
    function: Callable[[Item], Result], items: Iterable[Item], executor: Executor | None = None
) -> Iterator[Result]:
    """Results of ``function`` over ``items``, in order; work not begun is cancelled on error.

    A result that was taken is not kept.
    """
    if executor is None:
        yield from map(function, items)
        return
    futures = deque(executor.submit(function, item) for item in items)
    try:
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def map_completed(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Executor | None = None,
    n_jobs: int | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Places and results of ``function`` over ``items``, whichever is done first.

    Where results are kept as they come, nothing that is done is lost when a later item fails. Close
    it where a loop over it may be left early: that cancels what has not begun.

    Parameters
    ----------
    function
        Of a module, of a script or of a notebook.
    items
        What it is called with, one by one.
    executor
        Runs them.
    n_jobs
        Where there is no executor, number of processes; ``None`` is one, the calling one, -1 one
        per core, -2 one less. They share large arrays, and an error or an interruption ends them at
        once.

    Raises
    ------
    InputError
        If there are no such processes.
    """
    if executor is not None:
        places = {executor.submit(function, item): place for place, item in enumerate(items)}
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        finally:
            for future in places:
                future.cancel()
        return
    number = _number(n_jobs, "processes")
    if number == 1:
        yield from enumerate(map(function, items))
        return
    tasks = (delayed(_placed)(function, place, item) for place, item in enumerate(items))
    size: Any = 1  # joblib's stubs know "auto" alone
    processes = Parallel(number, return_as="generator_unordered", batch_size=size)
    yield from cast("Iterator[tuple[int, Result]]", processes(tasks))


def _placed(function: Callable[[Item], Result], place: int, item: Item) -> tuple[int, Result]:
    return place, function(item)


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
    number = _number(n_jobs, "threads")
    if number == 1:
        yield None
        return
    with ThreadPoolExecutor(number) as executor:
        yield executor


def _number(n_jobs: int | None, what: str) -> int:
    """How many there are to be, at least 1."""
    cores = os.cpu_count() or 1
    if n_jobs == 0 or (n_jobs is not None and n_jobs < -cores):
        raise InputError(f"n_jobs is a number of {what}, or -1 for all, got {n_jobs}")
    return 1 if n_jobs is None else n_jobs if n_jobs > 0 else cores + 1 + n_jobs


class _BlasLimit:
    """How many callers want BLAS on one thread; the last to leave gives the others back.

    The number of threads belongs to the process, so callers in several threads share one count:
    whoever restored what it found could leave a limit behind that another had set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limiter: Any = None
        self._threads = 1

    def enter(self) -> int:
        with self._lock:
            if not self._inside:
                blas = ThreadpoolController().select(user_api="blas")
                counts = [library["num_threads"] for library in blas.info()]
                self._threads = max(counts, default=1)
                self._limiter = blas.limit(limits=1)
            self._inside += 1
            return self._threads

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limiter.restore_original_limits()


_BLAS_LIMIT = _BlasLimit()


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """Keep BLAS on one thread, so that sums, and what follows from them, are the same on each run.

    Yields the number of threads it had before.
    """
    n_threads = _BLAS_LIMIT.enter()
    try:
        yield n_threads
    finally:
        _BLAS_LIMIT.leave()


def map_in_blocks(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Results of ``function`` over ``items``, in order, a few of them worked out ahead.

    As many threads work as BLAS would use, each with one BLAS thread of its own: results do not
    depend on their number. Close it where a loop over it may be left early: until then BLAS keeps
    to one thread.
    """
    with one_blas_thread() as n_threads:
        if n_threads == 1:
            yield from map(function, items)
            return
        ahead: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(n_threads) as executor:
            try:
                for item in items:
                    ahead.append(executor.submit(function, item))
                    if len(ahead) > n_threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()
