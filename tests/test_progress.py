import io

from entangle import progress
from entangle.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def steps(show, stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar("canonical cuts", 3, show) as advance:
        advance(1)
        advance(2)
    return stream.getvalue()


def test_a_bar_shows_on_a_terminal_only(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert "canonical cuts" in steps(True, Terminal(), monkeypatch)
    assert steps(False, Terminal(), monkeypatch) == ""
    assert steps(True, io.StringIO(), monkeypatch) == ""


def test_shares_are_told_in_steps_and_never_taken_back():
    told = []
    shares = progress.Shares(8, told.append)
    for share in (0.1, 0.5, 0.3, 0.5, 1.0):
        shares.reach(share)
    assert told == [4, 4]
