"""The long form of the tests, of hours: COUNTERSIGN_TEST_LONG=1. Marked `long`, a test is of that form alone."""

import os

LONG = os.environ.get("COUNTERSIGN_TEST_LONG") == "1"
SHARE = 6


def examples(most: int) -> int:
    """How many cases a property is tried with: all in the long form, else a sixth, and other ones in each run."""
    return most if LONG else max(1, most // SHARE)
