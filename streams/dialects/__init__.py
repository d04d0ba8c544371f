"""How AG-UI frameworks differ, as data and small pure functions: whose pause it is, and what answers to it carry."""

from collections.abc import Mapping
from typing import Any, Final

from streams.dialects.base import Channel, Dialect, Path, Place
from streams.dialects.table import DRAFT, PLAIN, ROWS

__all__ = ["DIALECTS", "DRAFT", "PLAIN", "Channel", "Dialect", "Path", "Place"]

_ROWS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in ROWS}
DIALECTS: Final[Mapping[str, Dialect]] = {  # those that an account can name; a draft is told by its form alone
    name: dialect for name, dialect in _ROWS.items() if dialect.framework != DRAFT.name
}
HAD_GONE_ON: Final = "after the run had gone on"

# Calls that some servers make up to ask with, where nothing else in the stream says that the run waits.
ADK_CONFIRMS: Final = "adk_request_confirmation"
SYNTHETIC_CALLS: Final = frozenset({ADK_CONFIRMS, "confirm_changes", "request_approval"})

UNRECOGNISED: Final = "The framework behind this server was not recognised: answers go as plain AG-UI 1.0, unverified."
UNVERIFIED: Final = "Answers to {name} follow what was observed of it; this version has not been tried with it."
NO_EDIT: Final = "Changes are not offered: {why}."
NO_REASON: Final = "A reason is not passed on: {why}."
ALL_OR_NONE: Final = "This framework takes one answer for all calls of a pause: approve all of them or none."
ONE_ONLY: Final = "of several answers this framework carries out only one"


def named(name: str) -> Dialect:
    """A dialect by its name, drafts too. Raises KeyError."""
    return _ROWS[name]


def known(name: str) -> Dialect | None:
    """The same, None where there is no such row (any more)."""
    return _ROWS.get(name)


def recognised(interrupt: Mapping[str, Any]) -> Dialect | None:
    """The dialect whose shape an interrupt has; None where it could be anybody's."""
    return next((dialect for dialect in ROWS if dialect.recognise(interrupt)), None)


def of(interrupt: Mapping[str, Any], pinned: str = "") -> Dialect:
    """The dialect of an interrupt: the pinned one (a framework: its variant by shape), else by shape, else plain."""
    chosen, seen = DIALECTS.get(pinned), recognised(interrupt)
    if chosen is None:
        return seen or PLAIN
    return seen if seen is not None and seen.framework == chosen.name else chosen


def clash(interrupt: Mapping[str, Any], pinned: str) -> str:
    """The framework an interrupt looks like, where that is not the pinned one. Whoever pins plain wants none seen."""
    chosen, seen = DIALECTS.get(pinned), recognised(interrupt)
    if chosen is None or seen is None or chosen is PLAIN:
        return ""
    variant = chosen.family and seen.family and chosen is not seen
    return seen.name if chosen.framework != seen.framework or variant else ""


def limits(name: str) -> tuple[str, ...]:
    """What answers in a dialect cannot carry, as sentences for a reviewer. Empty name: none was recognised."""
    dialect = _ROWS.get(name)
    if dialect is None:
        return (UNRECOGNISED,)
    said = list(doubts(name))
    if dialect.no_edit:
        said.append(NO_EDIT.format(why=dialect.no_edit))
    if dialect.no_reason:
        said.append(NO_REASON.format(why=dialect.no_reason))
    if dialect.several == "one":
        said.append(f"Several questions at once cannot be approved: {ONE_ONLY}.")
    if dialect.several == "bundle":
        said.append(ALL_OR_NONE)
    return (*said, dialect.remark) if dialect.remark else tuple(said)


def doubts(name: str) -> tuple[str, ...]:
    """Why it is not certain that a server takes answers in a dialect; empty where one was seen to."""
    dialect = _ROWS.get(name)
    if dialect is None:
        return (UNRECOGNISED,)
    return () if dialect.verified else (UNVERIFIED.format(name=dialect.framework),)


def not_accepted(error: str) -> bool:
    """Whether a RUN_ERROR, as `CODE: message` or either of them alone, says that an answer was not taken.

    Not so where the run had gone on before it: a server may say such words of its own tools, too.
    """
    if error.startswith(HAD_GONE_ON):
        return False
    code = error.partition(":")[0].strip()
    return any(
        code in dialect.not_accepted or any(piece in error for piece in dialect.not_accepted_texts) for dialect in ROWS
    )
