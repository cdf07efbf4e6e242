"""A progress bar for long work: on a terminal it shows, elsewhere it stays silent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

__all__ = ["Shares", "progress_bar"]


@contextmanager
def progress_bar(title: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances the bar by a number of steps.

    The bar goes to standard error, only if that is a terminal and ``show`` is true, and is
    removed at the end.
    """
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps: progress.advance(task, steps)


class Shares:
    """Progress in steps, from guesses of the share of the work that is done."""

    def __init__(self, n_steps: int, advance: Callable[[int], None]) -> None:
        self.n_steps, self.advance, self.told = n_steps, advance, 0

    def reach(self, share: float) -> None:
        """Tell the steps that correspond to a share of the work, if they are more than before."""
        done = int(share * self.n_steps)
        if done > self.told:
            self.advance(done - self.told)
            self.told = done
