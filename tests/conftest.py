import os
import sys

# scikit-learn skips its array API check unless this is set before scipy is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import hypothesis
import pytest
import torch

# A busy machine is slow now and then; no test here is about time.
hypothesis.settings.register_profile("entangle", deadline=None)
hypothesis.settings.load_profile("entangle")


def pytest_configure(config):
    # Processes that test side by side (pytest -n) share the cores: one thread in each. Set before
    # they start, as one of their plugins loads BLAS. Tests about threads say how many they take.
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    return torch.device(request.param)


@pytest.fixture
def entangle(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output, standard error."""
    from entangle import cli  # not before annotations are checked at import

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["entangle", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run
