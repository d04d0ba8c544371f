"""A run's interrupts as questions: the same ones from a snapshot, a read-back and a webhook.

Source: Middesk's OpenAPI description (Interrupt: `id`, open `value`, `agent`) and docs.middesk.com/work-with-agents/
take-action, read 2026-11. Name, text and hash of a question come from the interrupt alone, never from what surrounds
it, so that it is the same question wherever it is seen.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streams import jsontext
from streams.events import Asked, canonical, sha256, short, text
from streams.providers.addresses import ID_LIMIT
from streams.providers.middesk.wire import Seen, string

TOOL = "interrupt"  # where neither a type nor an agent is named
TOOL_LIMIT, LABEL_LIMIT = 300, 2_000
NAMELESS = "sha256:"  # how a question begins whose own id no answer could name
QUESTIONS_MAX = 1_000


def read(seen: Seen, *, hears_reason: bool) -> tuple[Asked, ...]:
    """Every question that a payload names, each once."""
    listed = (seen.interrupts or [])[:QUESTIONS_MAX]
    if not listed:
        return ()
    trouble = jsontext.problem(seen.data)  # a key that comes twice, say: parsers would see other questions
    raws = _spelled(seen, len(listed))
    made: dict[str, Asked] = {}
    for item, raw in zip(listed, raws, strict=True):
        asked = _question(item, raw, trouble, hears_reason)
        twin = made.get(asked.call_id)
        made[asked.call_id] = asked if twin is None else _one_of(twin, asked)
    return tuple(made.values())


def fingerprint(tool: str, arguments: str) -> str:
    """What a question is about, whatever its spelling."""
    return sha256(f"{tool}\n{canonical(arguments)}")


def _spelled(seen: Seen, count: int) -> list[str]:
    """Each interrupt exactly as it came; empty texts where it cannot be cut out."""
    try:
        return jsontext.raw_items(jsontext.raw_slice(seen.data, [*seen.path, "interrupts"]))[:count]
    except (ValueError, LookupError):
        return [""] * count


def _question(item: Any, raw: str, trouble: str, hears_reason: bool) -> Asked:
    interrupt: Mapping[str, Any] = item if isinstance(item, dict) else {}
    value = interrupt.get("value")
    inside: Mapping[str, Any] = value if isinstance(value, dict) else {}
    arguments, marked = text(_value_of(raw) if "value" in interrupt else raw)
    call_id, id_trouble = _id(interrupt.get("id"), arguments)
    if not trouble and not isinstance(value, dict):
        trouble = "the interrupt has no value that is an object"
    if not trouble and marked:
        trouble = "holds a NUL or half a character (a lone surrogate)"
    if not trouble and not arguments:
        trouble = "its value cannot be cut out of what was sent"
    kind = string(inside.get("type"))
    agent = string(inside.get("agent")) or string(interrupt.get("agent"))
    return Asked(
        call_id=call_id,
        tool=short(kind or agent or TOOL, TOOL_LIMIT),
        arguments=arguments,
        message=short(string(inside.get("label")), LABEL_LIMIT),
        reason=short(kind, 200),
        hears_reason=hears_reason,
        problem=short(trouble or id_trouble, 500),
    )


def _value_of(raw: str) -> str:
    try:
        return jsontext.raw_slice(raw, ["value"])
    except (ValueError, LookupError):
        return raw


def _id(found: Any, arguments: str) -> tuple[str, str]:
    """The id to keep, and why no answer could name it. A question without a usable id is shown all the same."""
    if isinstance(found, str) and 0 < len(found) <= ID_LIMIT and not text(found)[1] and not found.startswith(NAMELESS):
        return found, ""
    named = found if isinstance(found, str) else ""
    digest = sha256(f"{named}\n{canonical(arguments)}")
    return f"{NAMELESS}{digest}", "it has no id that an answer could name"


def _one_of(first: Asked, other: Asked) -> Asked:
    """Two with one id: an answer would not say which is meant, so neither can be approved."""
    if fingerprint(first.tool, first.arguments) == fingerprint(other.tool, other.arguments):
        return first
    why = "two different interrupts came under this id"
    return replace(first, problem=first.problem or why)
