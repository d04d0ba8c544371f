"""The tools of a pause as questions, and what one pause can be answered with. Pure.

A pause takes one answer for all of its tools: one that is left out, or that it does not know, counts as refused and the
run goes on (agno 3.1.10, 2026-11). So they are answered together, all of them, or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from streams import jsontext
from streams.events import Asked, canonical, sha256, short, text
from streams.providers.addresses import ID_LIMIT
from streams.providers.agno.wire import Tool, string

NAMELESS: Final = "sha256:"  # how a question begins whose own id no answer could name
TOOL: Final = "tool"
OTHER: Final = "another question of this pause cannot be answered from here, and one answer must cover all of them"
WANTS: Final = {
    "requires_user_input": "the agent wants fields to be filled in, which cannot be sent from here",
    "external_execution_required": "the agent wants the tool to be run elsewhere and its result, not a yes or no",
}


def read(found: Sequence[Tool]) -> tuple[Asked, ...]:
    """The questions of one pause, each once: the tools that nobody answered and that did not run."""
    made: dict[str, Asked] = {}
    for tool in found:
        if not tool.waits:
            continue
        asked = _question(tool)
        twin = made.get(asked.call_id)
        if twin is not None:  # an answer would not say which is meant
            asked = replace(twin, problem=twin.problem or "two calls of this pause have one id", edit=False)
        made[asked.call_id] = asked
    asks = tuple(made.values())
    if any(one.problem for one in asks):
        asks = tuple(replace(one, problem=one.problem or OTHER, edit=False) for one in asks)
    return tuple(replace(one, together=len(asks) > 1) for one in asks)


def fingerprint(tool: str, arguments: str) -> str:
    """What a question is about, whatever its spelling."""
    return sha256(f"{tool}\n{canonical(arguments)}")


def _question(tool: Tool) -> Asked:
    item = tool.item
    name, args = string(item.get("tool_name")), item.get("tool_args")
    spelled, marked = text(_slice(tool.raw))
    call_id, id_trouble = _id(tool, spelled)
    trouble = tool.trouble or next((why for key, why in WANTS.items() if item.get(key) is True), "")
    trouble = trouble or ("" if name and isinstance(args, dict) else "the call that it is about cannot be read")
    trouble = trouble or (jsontext.problem(spelled) if spelled else "its arguments cannot be cut out of what was sent")
    if not trouble and marked:
        trouble = "holds a NUL or half a character (a lone surrogate)"
    trouble = trouble or id_trouble
    return Asked(
        call_id=call_id,
        tool=short(name or TOOL, 300),
        arguments=spelled or text(tool.raw)[0],
        tool_call_id=short(text(tool.id)[0], 300),
        reason="confirmation",
        edit=not trouble,
        hears_reason=True,
        problem=short(trouble, 500),
    )


def answered(raw: str, *, yes: bool, note: str, edited: Mapping[str, Any] | None) -> dict[str, Any]:
    """A tool as it goes back. Raises ValueError where it is none."""
    item = jsontext.strict(raw)
    if not isinstance(item, dict):
        raise ValueError("not an object")
    made = {**item, "confirmed": yes}
    if note:
        made["confirmation_note"] = note
    if edited is not None:
        made["tool_args"] = dict(edited)
    return made


def _slice(raw: str) -> str:
    try:
        return jsontext.raw_slice(raw, ["tool_args"]) if raw else ""
    except (ValueError, LookupError):
        return ""


def _id(tool: Tool, arguments: str) -> tuple[str, str]:
    """The id to keep, and why no answer could name it. A question without a usable id is shown all the same."""
    found = tool.id
    if 0 < len(found) <= ID_LIMIT and not text(found)[1] and not found.startswith(NAMELESS):
        return found, ""
    digest = sha256(f"{found}\n{string(tool.item.get('tool_name'))}\n{canonical(arguments)}")
    return f"{NAMELESS}{digest}", "it has no id that an answer could name"
