import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from entangle.affinity import _full
from entangle.errors import InputError
from entangle.parallel import map_completed, map_in_blocks, map_ordered, one_blas_thread


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_results_come_in_the_order_of_the_items(threads):
    if threads is None:
        assert list(map_ordered(str, range(20))) == [str(n) for n in range(20)]
        return
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_ordered(str, range(20), pool)) == [str(n) for n in range(20)]


def test_a_result_that_was_taken_is_not_kept():
    class Result:
        pass

    taken = []
    with ThreadPoolExecutor(1) as pool:
        for result in map_ordered(lambda _: Result(), range(5), pool):
            taken.append(weakref.ref(result))
            del result
            assert sum(one() is not None for one in taken) <= 1
    assert len(taken) == 5


def test_what_is_done_first_comes_first_with_its_place():
    assert list(map_completed(str, range(3))) == [(0, "0"), (1, "1"), (2, "2")]
    first = threading.Event()

    def work(n):
        if n == 0:
            assert first.wait(5)
        return n * n

    with ThreadPoolExecutor(2) as pool:
        found = []
        for place, result in map_completed(work, range(4), pool):
            found.append((place, result))
            if len(found) == 3:
                first.set()
    assert sorted(found[:3]) == [(1, 1), (2, 4), (3, 9)]
    assert found[3] == (0, 0)


@pytest.mark.parametrize("threads", [None, 1])
def test_what_was_done_before_an_error_is_handed_over(threads):
    failing, found = threading.Event(), []

    def work(n):
        if n == 2:
            assert failing.wait(5) or threads is None
            raise ZeroDivisionError
        return n

    def take(pool):
        for place, _ in map_completed(work, range(40), pool):
            found.append(place)
            failing.set() if len(found) == 2 else None

    with pytest.raises(ZeroDivisionError), ThreadPoolExecutor(1) as pool:
        take(pool if threads else None)
    assert found[:2] == [0, 1]


@pytest.mark.parametrize("number", [0, -1000])
def test_numbers_of_processes_that_are_none(number):
    with pytest.raises(InputError, match="n_jobs is a number of processes"):
        list(map_completed(str, [1], n_jobs=number))


@pytest.mark.slow
def test_an_error_ends_processes_at_once_though_much_was_left_to_do():
    def work(n):
        time.sleep(0.2 if n < 3 else 60)
        if n == 2:
            raise ZeroDivisionError
        return os.getpid()

    found, begin = [], time.perf_counter()
    with pytest.raises(ZeroDivisionError):
        found.extend(pid for _, pid in map_completed(work, range(99), n_jobs=2))
    assert time.perf_counter() - begin < 30
    assert found
    for pid in found:
        assert os.getpid() != pid
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_error_comes_through_and_cancels_what_has_not_begun():
    started, go = [], threading.Event()

    def work(n):
        started.append(n)
        if n == 0:
            raise ZeroDivisionError
        go.wait(5)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ZeroDivisionError):
            list(map_ordered(work, range(50), pool))
        go.set()
    assert len(started) < 50


def blas_threads():
    blas = ThreadpoolController().select(user_api="blas")
    return {library["num_threads"] for library in blas.info()}


def test_blas_threads_come_back_whoever_leaves_first():
    first, second = one_blas_thread(), one_blas_thread()
    with threadpool_limits(2, "blas"):
        assert first.__enter__() == 2
        assert second.__enter__() == 2
        assert blas_threads() == {1}
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_blocks_come_in_order_and_few_ahead(n_threads):
    started = []

    def work(item):
        started.append(item)
        assert blas_threads() == {1}
        return item * item

    with threadpool_limits(n_threads, "blas"):
        for number, result in enumerate(map_in_blocks(work, range(20))):
            assert result == number * number
            assert len(started) <= number + n_threads + 1
    assert sorted(started) == list(range(20))


def test_an_error_in_a_block_is_raised_and_gives_the_threads_back():
    with threadpool_limits(2, "blas"):
        with pytest.raises(ZeroDivisionError):
            list(map_in_blocks(lambda item: 1 / item, [1, 0, 2, 3, 4]))
        assert blas_threads() == {2}


class Weights:
    """No affinity at all, of features enough for several blocks."""

    n_features = 1200

    def rows(self, start, stop, first=0):
        return np.zeros((stop - start, self.n_features - first))


def test_blas_threads_come_back_while_an_error_is_still_looked_at(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("entangle.affinity.np.triu", interrupted)
    with threadpool_limits(2, "blas"):
        with pytest.raises(KeyboardInterrupt) as caught:
            _full(Weights())
        assert caught.tb is not None  # it holds the frames and what is in them
        assert blas_threads() == {2}
