"""Arguments as values that keep how each number was spelled. Pure."""

import json
from typing import Any

from streams import jsontext


class Number(str):
    """A JSON number, exactly as it is spelled."""

    __slots__ = ()


def load(text: str) -> Any:
    """The value of a JSON text that every parser reads alike, numbers as Number. Raises ValueError for any other."""
    if problem := jsontext.problem(text):
        raise ValueError(problem)
    return json.loads(text, parse_float=Number, parse_int=Number)


def dump(value: Any) -> str:
    """A value of load() as indented JSON, numbers as they were spelled."""
    return "".join(_dump(value, 0))


def _dump(value: Any, depth: int) -> list[str]:
    if isinstance(value, Number):
        return [str(value)]
    if isinstance(value, dict) and value:
        inner = "  " * (depth + 1)
        made = ["{\n"]
        for index, (key, item) in enumerate(value.items()):
            made += [",\n" if index else "", inner, _text(key), ": ", *_dump(item, depth + 1)]
        return [*made, "\n", "  " * depth, "}"]
    if isinstance(value, list) and value:
        inner = "  " * (depth + 1)
        made = ["[\n"]
        for index, item in enumerate(value):
            made += [",\n" if index else "", inner, *_dump(item, depth + 1)]
        return [*made, "\n", "  " * depth, "]"]
    return [_text(value)]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
