#!/usr/bin/env python3
"""Countersign's one command: prepares its own environment (`dashboard/bootstrap.py`), then runs Django's commands."""

import sys

if sys.version_info < (3, 11):  # an old Python must be able to read this file: no annotations, no f-strings
    sys.exit(
        "Countersign cannot start: it needs Python 3.11 or newer, and this is Python %d.%d (%s)."
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )

from dashboard import bootstrap

if __name__ == "__main__":
    bootstrap.main(sys.argv)
