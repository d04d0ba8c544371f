"""`python -m streams.emulator`: the emulator without Django."""

import sys

from streams.emulator.cli import main

sys.exit(main())
