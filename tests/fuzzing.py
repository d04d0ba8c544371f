"""How many cases a property is tried with."""

import os

SHARE = 6  # of the long form


def examples(most: int) -> int:
    """All of them in the long form, else a sixth: each run takes other ones."""
    return most if os.environ.get("COUNTERSIGN_TEST_LONG") else max(1, most // SHARE)
