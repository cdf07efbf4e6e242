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
    assert progress.__all__ == ["progress_bar"]
