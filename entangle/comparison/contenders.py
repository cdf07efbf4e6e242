"""Models to compare orderings by: what a user names, as estimators that are not fitted."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone, is_classifier
from torch import nn

from entangle.comparison.orderings import with_random_state
from entangle.errors import InputError
from entangle.models import MODELS, LocalNetworkClassifier
from entangle.networks.classifier import TensorNetworkClassifier

__all__ = ["Contender", "contenders_wanted", "usual_epochs"]

GRIDS = ("cnn", "padded-cnn", "tree")  # the others read a grid row by row
NETWORKS = ("tree", "mps")
FEWEST_EPOCHS, MOST_EPOCHS, STEPS, BATCH = 30, 300, 600, 64


@dataclass(frozen=True, eq=False)
class Contender:
    """A classifier under the name it is reported with."""

    name: str
    model: Any

    def seeded(self, seed: int) -> Any:
        """Return a copy that is not fitted, with this seed wherever it takes one."""
        return with_random_state(clone(self.model), seed)


def usual_epochs(n_train: int) -> int:
    """Epochs by default: 30, or so many that there are 600 steps of 64 rows, at most 300.

    Examples
    --------
    >>> usual_epochs(1200), usual_epochs(380), usual_epochs(100)
    (32, 100, 300)
    """
    steps = math.ceil(n_train / BATCH)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(STEPS / steps)))


def contenders_wanted(
    models: Any,
    options: Mapping[str, Mapping[str, Any]] | None,
    shape: tuple[int, ...],
    epochs: int,
    scale: str = "all",
) -> tuple[Contender, ...]:
    """Classifiers from what a user passes.

    Parameters
    ----------
    models
        Names, classifiers and functions that build one, or such by name; see
        :func:`~entangle.comparison.compare_orderings`.
    options
        Options of each model by its name.
    shape
        Layout of the features.
    epochs
        Of networks called by name.
    scale
        Of local networks called by name.

    Raises
    ------
    InputError
        If one is unknown, has the name of another, or does not know an option.
    """
    if isinstance(models, str):
        raise InputError(f"models are several, got the text {models!r}; pass ({models!r},)")
    if isinstance(models, Mapping):
        pairs = [(str(name), given) for name, given in models.items()]
    elif isinstance(models, Iterable):
        pairs = [(_name(given), given) for given in models]
    else:
        raise InputError(f"models are a list or a dictionary of them, got {models!r}")
    if not pairs:
        raise InputError("models hold nothing; pass at least one, such as 'cnn'")
    most, number = Counter(name for name, _ in pairs).most_common(1)[0]
    if number > 1:
        raise InputError(
            f"models need distinct names, {most!r} comes {number} times; pass a dictionary from "
            "names to models"
        )
    wanted = dict(options or {})
    unknown = set(wanted) - {name for name, _ in pairs}
    if unknown:
        raise InputError(
            f"model_options are for {', '.join(repr(name) for name, _ in pairs)}, got "
            f"{', '.join(map(repr, sorted(unknown)))}; name a model that is compared"
        )
    return tuple(
        Contender(
            name, _with_options(name, _built(given, shape, epochs, scale), wanted.get(name, {}))
        )
        for name, given in pairs
    )


def _name(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, LocalNetworkClassifier) and isinstance(given.model, str):
        return given.model
    return getattr(given, "__name__", type(given).__name__)


def _built(given: Any, shape: tuple[int, ...], epochs: int, scale: str) -> Any:
    """Build a classifier from a name, a function or an example."""
    if isinstance(given, str):
        return _named(given, shape, epochs, scale)
    if isinstance(given, nn.Module):
        raise InputError(
            "a model is a classifier, got a torch module; pass LocalNetworkClassifier(module)"
        )
    fits = hasattr(given, "fit") and not isinstance(given, type)
    model = given if fits else _made(given)
    whole = all(hasattr(model, name) for name in ("fit", "predict", "get_params", "set_params"))
    if not whole or not is_classifier(model):
        raise InputError(
            f"a model is a name ({', '.join((*MODELS, *NETWORKS))}), a classifier of scikit-learn, "
            f"or a function without arguments that builds one, got {model!r}"
        )
    return clone(model)


def _made(build: Callable[[], Any]) -> Any:
    if not callable(build):
        return build
    try:
        return build()
    except TypeError as reason:
        raise InputError(
            f"a function that stands for a model takes no arguments and returns a classifier, "
            f"{build!r} failed: {reason}"
        ) from reason


def _named(name: str, shape: tuple[int, ...], epochs: int, scale: str) -> Any:
    layout = shape if name in GRIDS else None
    if name in MODELS:
        return LocalNetworkClassifier(name, layout, scale=scale, max_epochs=epochs)
    if name in NETWORKS:
        return TensorNetworkClassifier(name, shape=layout, max_epochs=epochs)
    known = (*MODELS, *NETWORKS)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "pass one of these, or a classifier"
    raise InputError(f"a model is one of {', '.join(map(repr, known))}, got {name!r}; {hint}")


def _with_options(name: str, model: Any, options: Mapping[str, Any]) -> Any:
    """Set options; an error names those that the model has."""
    known = model.get_params(deep=True)
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(known))}"
            raise InputError(f"model {name!r} has no option {option!r}; {hint}")
    return model.set_params(**options)
