"""What differs between two arguments texts, argument by argument, word by word. Pure."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from dashboard import values
from dashboard.values import Number

LINES_MAX = 400
WORD = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a line; `changed` is marked."""

    text: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line: kept, removed or added."""

    sign: Literal[" ", "-", "+"]
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one argument."""

    name: str
    lines: tuple[Line, ...]


def between(before: str, after: str) -> list[Change]:
    """The arguments that differ; where a text is no object, the whole of it."""
    try:
        old, new = values.load(before), values.load(after)
    except ValueError:
        old, new = None, None
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if before == after else [Change("", tuple(_lines(before, after)))]
    made = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name in old and name in new and _same(old[name], new[name]):
            continue
        shown = [_shown(side[name]) if name in side else None for side in (old, new)]
        made.append(Change(name, tuple(_lines(*shown))))
    return made


def _same(old: Any, new: Any) -> bool:
    return values.dump(old) == values.dump(new)


def _shown(found: Any) -> str:
    plain = isinstance(found, str) and not isinstance(found, Number)
    return str(found) if plain else values.dump(found)


def _lines(before: str | None, after: str | None) -> Iterator[Line]:
    old = [] if before is None else before.split("\n")[:LINES_MAX]
    new = [] if after is None else after.split("\n")[:LINES_MAX]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for what, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if what == "equal":
            yield from _kept(old[old_from:old_to])
        elif what == "replace" and old_to - old_from == new_to - new_from:
            for removed, added in zip(old[old_from:old_to], new[new_from:new_to], strict=True):
                yield from _words(removed, added)
        else:
            yield from (Line("-", (Stretch(text, True),)) for text in old[old_from:old_to])
            yield from (Line("+", (Stretch(text, True),)) for text in new[new_from:new_to])


def _kept(lines: list[str]) -> Iterator[Line]:
    """At most two lines of what did not change around a change."""
    yield from (Line(" ", (Stretch(text),)) for text in (lines if len(lines) <= 4 else [*lines[:2], "…", *lines[-2:]]))


def _words(removed: str, added: str) -> Iterator[Line]:
    if len(removed) + len(added) > 4_000:
        yield Line("-", (Stretch(removed, True),))
        yield Line("+", (Stretch(added, True),))
        return
    old, new = WORD.findall(removed), WORD.findall(added)
    before: list[Stretch] = []
    after: list[Stretch] = []
    for what, old_from, old_to, new_from, new_to in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        changed = what != "equal"
        if old_to > old_from:
            before.append(Stretch("".join(old[old_from:old_to]), changed))
        if new_to > new_from:
            after.append(Stretch("".join(new[new_from:new_to]), changed))
    yield Line("-", tuple(before))
    yield Line("+", tuple(after))
