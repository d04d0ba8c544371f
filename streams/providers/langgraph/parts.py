"""The calls of an interrupt that is about several, one part each. Total."""

from streams import jsontext
from streams.events import short
from streams.providers.base import Part
from streams.providers.langgraph.wire import string

PARTS_MAX, TEXT_LIMIT, REST_LIMIT = 100, 4_000, 8_000


def read(arguments: str) -> tuple[Part, ...]:
    """The parts of a list of calls; none where the arguments are those of one call."""
    try:
        found = jsontext.quick(arguments)
    except ValueError:
        return ()
    if not isinstance(found, list) or not all(isinstance(one, dict) and string(one.get("name")) for one in found):
        return ()
    made = [
        Part(
            label=short(string(one.get("description")), TEXT_LIMIT),
            kind=short(string(one.get("name")), 300),
            rest=_json({key: value for key, value in one.items() if key not in ("name", "description")}),
        )
        for one in found[:PARTS_MAX]
    ]
    return (*made, *([Part(label="", left_out=len(found) - PARTS_MAX)] if len(found) > PARTS_MAX else []))


def _json(value: object) -> str:
    try:
        return short(jsontext.dumps(value), REST_LIMIT)
    except ValueError:
        return "nested too deeply to be shown here"
