"""`python -m mediaserver` is the command `mediaserver`."""

from __future__ import annotations

import sys

from mediaserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
