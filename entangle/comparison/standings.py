"""What comparisons share: one row a training, and one standing for each model and ordering."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import numpy as np

__all__ = ["Standings", "Training"]


class Training(Protocol):
    """A row: one training on one split."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def ordering(self) -> str:
        """Name of the ordering."""
        ...

    @property
    def n_train(self) -> int:
        """Training rows."""
        ...

    @property
    def n_test(self) -> int:
        """Test rows."""
        ...


R = TypeVar("R", bound=Training)
S = TypeVar("S")


class Standings(Generic[R, S]):
    """Rows by model and ordering, and what they say together."""

    rows: tuple[R, ...]

    @property
    def orderings(self) -> tuple[str, ...]:
        """Names of the orderings, in the order they were asked for."""
        return tuple(dict.fromkeys(row.ordering for row in self.rows))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order they were asked for."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    @property
    def test_per_train(self) -> float:
        """Test rows over training rows, mean of the splits."""
        return float(np.mean([row.n_test / row.n_train for row in self.rows]))

    def summary(self) -> tuple[S, ...]:
        """Say what the rows found of each model and ordering.

        Differences are paired: both orderings had the same rows and the same seed. Each interval
        stands alone; of many, some miss by chance.
        """
        return tuple(self.standing(m, o) for m in self.models for o in self.orderings)

    def standing(self, model: str, ordering: str) -> S:
        """Say what the rows found of one model and ordering.

        Raises
        ------
        KeyError
            If there is no such pair.
        """
        raise NotImplementedError

    def rows_of(self, model: str, ordering: str) -> list[R]:
        """Rows of one model and ordering.

        Raises
        ------
        KeyError
            If there are none.
        """
        rows = [row for row in self.rows if (row.model, row.ordering) == (model, ordering)]
        if not rows:
            raise KeyError(
                f"there is no model {model!r} with ordering {ordering!r}; models: {self.models}, "
                f"orderings: {self.orderings}"
            )
        return rows
