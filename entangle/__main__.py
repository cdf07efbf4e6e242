"""``python -m entangle`` and the ``entangle`` command."""

from entangle.cli import main

if __name__ == "__main__":
    main()
