"""Arguments that several commands take, and rows as lines of a terminal."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError

from streams import inert


def pairs(options: Sequence[str]) -> dict[str, Any]:
    """`k=v` pairs; a value that is JSON is read as such (5, true, {"a": 1}), everything else is text."""
    made: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise CommandError(f"--option: {option!r} is not of the form key=value")
        if key in made:
            raise CommandError(f"--option: {key} is given twice")
        made[key] = _value(value)
    return made


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as they need to be; others' text is inert and stays on its line."""
    cells = [list(heads), *([inert.one_line(str(cell), 80) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def dumps(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON for programs; ASCII, so that nothing in it can drive a terminal."""
    return json.dumps(value, indent=2)


def line(value: Mapping[str, Any]) -> str:
    """The same on one line."""
    return json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text
