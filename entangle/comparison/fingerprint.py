"""Fingerprints: equal for what gives equal results, whichever process or day asks.

A number that is kept in a file is good for what it was measured with, and for nothing else.
Arrays count with their values, models with their class and options, functions with their code
and what it holds, and everything with the versions of the libraries that work it out.
"""

from __future__ import annotations

import pickle
from functools import partial
from importlib.metadata import version
from types import CodeType, FunctionType
from typing import Any

import joblib

from entangle.errors import InputError

__all__ = ["fingerprint", "versions"]

# Options that came after results were kept: None does what was done before.
LATER = {"penalties", "schedule"}
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "numba", "pymetis", "entangle-tn")


def versions() -> dict[str, str]:
    """Versions of the libraries that a result may depend on."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:  # a checkout that is not installed
        return "unknown"


def fingerprint(value: Any, what: str) -> str:
    """40 hexadecimal digits that tell what a value is.

    Parameters
    ----------
    value
        Numbers, text, arrays, models of scikit-learn or torch, functions, and collections of them.
    what
        What it is called, for a message.

    Raises
    ------
    InputError
        If it holds something without an identity, such as an open file.
    """
    try:
        return str(joblib.hash(_described(value), hash_name="sha1"))
    except (pickle.PicklingError, TypeError, ValueError, AttributeError) as reason:
        raise InputError(
            f"{what} cannot be told apart from others, as it cannot be pickled ({reason}); leave "
            "directory out, or define it in a module"
        ) from reason


def _described(value: Any) -> Any:
    """Spell out what pickles without its contents, or not at all."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        options = value.get_params(deep=False)
        told = [n for n in options if not (n in LATER and options[n] is None)]
        return [_named(type(value)), {name: _described(options[name]) for name in told}]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [value.__defaults__, value.__kwdefaults__, cells]
        return [_named(value), _code(value.__code__), _described(held)]
    if isinstance(value, partial):
        return ["partial", *map(_described, (value.func, value.args, value.keywords))]
    if isinstance(value, dict):
        return {key: _described(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_described, value)]
    return value


def _named(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _code(code: CodeType) -> list[Any]:
    """Instructions and constants, without line numbers or files."""
    constants = [_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names]
