import subprocess
import sys

import pytest

import entangle


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_public_names_resolve():
    for name in entangle.__all__:
        assert getattr(entangle, name).__module__.startswith("entangle")
        assert name in dir(entangle)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'entangel'"):
        _ = entangle.entangel


def test_importing_the_package_and_the_command_line_loads_nothing_heavy():
    """--help answers at once only as long as this holds."""
    heavy = ["torch", "numpy", "sklearn", "scipy", "numba", "quimb", "matplotlib", "pandas"]
    done = run(
        f"import sys, entangle, entangle.cli; print([m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_library_does_not_load_quimb_or_matplotlib_before_they_are_asked_for():
    done = run(
        "import sys; from entangle import DataTensor, diagnose, FeatureRearranger; "
        "print([m for m in ['quimb', 'matplotlib'] if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_changes_no_global_state():
    done = run(
        "import torch, numpy; before = torch.get_num_threads(), torch.get_default_dtype(), "
        "torch.initial_seed(), numpy.random.get_state()[1].tolist(); "
        "import entangle.diagnosis, entangle.cli; "
        "after = torch.get_num_threads(), torch.get_default_dtype(), "
        "torch.initial_seed(), numpy.random.get_state()[1].tolist(); print(before == after)"
    )
    assert done.stdout.strip() == "True", done.stderr
