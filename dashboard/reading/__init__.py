"""Our own sentence about a call from its arguments: what it would do, to what, and whether that can be taken back.

Deterministic and pure. The agent's own words have no part in it, and what cannot be read is said to be unknown.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dashboard import values
from dashboard.reading import deletion, mail, money, proposals, shell, sql
from dashboard.reading.sentence import Notice, Part, Reading, fact, glue, value

__all__ = ["Notice", "Part", "Reading", "read", "unknown"]

READ_MAX = 256 * 1024  # a longer text is not taken apart for a sentence
READERS: tuple[Callable[[str, Mapping[str, Any]], Reading | None], ...] = (
    mail.read,
    money.read,
    sql.read,
    shell.read,
    deletion.read,
    proposals.read,  # last: no call can be passed off as a mere question by a member more
)


def read(tool: str, arguments: str) -> Reading:
    """The reading of a call; kind `unknown` where no reader is sure."""
    if len(arguments) > READ_MAX:
        return unknown(tool)
    try:
        given = values.load(arguments)
    except ValueError:
        return unknown(tool, unreadable=True)
    if not isinstance(given, dict):
        return unknown(tool)
    return next((reading for reader in READERS if (reading := reader(tool, given)) is not None), unknown(tool))


def unknown(tool: str, *, unreadable: bool = False) -> Reading:
    """The honest sentence about a call that nobody here can read."""
    named = value(tool) if tool else fact("a tool without a name")
    effect = "Its arguments cannot be read." if unreadable else "Effect not known to this system."
    return Reading(
        "unknown", (glue("Calls "), named, glue(f". {effect}")), "Whether it can be taken back is not known."
    )
