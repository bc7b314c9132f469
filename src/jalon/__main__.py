"""Makes ``python -m jalon`` the same as ``jalon``."""

from __future__ import annotations

from jalon.cli import main

if __name__ == "__main__":
    main()
