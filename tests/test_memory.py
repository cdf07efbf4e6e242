import psutil
import pytest

from entangle.errors import MemoryLimitError
from entangle.memory import require_memory


def test_what_fits_passes_and_what_does_not_is_refused_with_both_sizes():
    require_memory(2**30, "work", 2**30)
    with pytest.raises(MemoryLimitError, match=r"work needs 2\.00 GiB of memory, 1\.00 GiB is"):
        require_memory(2**31, "work", 2**30)
    with pytest.raises(MemoryError, match=r"needs 1\.50 MiB .*; do less"):
        require_memory(1.5 * 2**20, "work", 2**20, repair="do less")


def test_the_default_limit_is_what_the_machine_has():
    available = psutil.virtual_memory().available
    require_memory(available / 4, "work")
    with pytest.raises(MemoryLimitError, match="work"):
        require_memory(available * 4, "work")
