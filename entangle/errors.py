"""Errors a user can act on: each message says what was expected, what came, and the repair.

Every error inherits :class:`EntangleError` and the built-in class that callers already
catch, so ``except ValueError`` keeps working in a pipeline.
"""

__all__ = [
    "DatasetError",
    "DegenerateStateError",
    "EntangleError",
    "InputError",
    "MemoryLimitError",
    "OutputExistsError",
    "PartitionError",
    "TrainingInterrupted",
]


class EntangleError(Exception):
    """Base of every error that entangle raises on purpose."""


class InputError(EntangleError, ValueError):
    """Data, labels or options that cannot be used as they are."""


class PartitionError(EntangleError, ValueError):
    """A cut, a shape or a level that does not fit the features."""


class DegenerateStateError(EntangleError, ValueError):
    """A tensor that is zero, or cancels to zero at working precision."""


class DatasetError(EntangleError, ValueError):
    """A data set that is unknown, missing or damaged."""


class MemoryLimitError(EntangleError, MemoryError):
    """Work refused before anything was allocated, because it would not fit."""


class OutputExistsError(EntangleError, FileExistsError):
    """An output that would overwrite an existing file."""


class TrainingInterrupted(UserWarning):
    """Training that Ctrl-C ended early; what was trained so far is kept."""
