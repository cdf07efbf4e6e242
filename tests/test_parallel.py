import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from entangle.parallel import map_ordered


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_results_come_in_the_order_of_the_items(threads):
    if threads is None:
        assert list(map_ordered(str, range(20))) == [str(n) for n in range(20)]
        return
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_ordered(str, range(20), pool)) == [str(n) for n in range(20)]


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
