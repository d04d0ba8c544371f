"""One interrupt that holds several actions, as LangGraph's middleware for people in the loop sends it."""

from collections.abc import Mapping
from typing import Any, Final

from streams.dialects import Dialect
from streams.events import Asked, canonical, short, text
from streams.providers.agui import calls, history
from streams.providers.agui.state import Ask, State
from streams.providers.agui.told import (
    KEY_LIMIT,
    NEVER_SHOWN,
    NO_CHANGES,
    NO_REFUSAL,
    Pair,
    Told,
    field,
    key_of,
    made_up_key,
    not_allowed,
    spoken,
)

MAX_ACTIONS: Final = 100
Held = tuple[str, str, str]  # id, name and canonical arguments of a call


def read(state: State, told: Told, dialect: Dialect) -> list[Pair]:
    """A question for each action; their decisions go back by their places. Empty where the actions cannot be read."""
    raw = calls.value_of(told, calls.root_of(told, dialect))
    found = raw.get("action_requests") if isinstance(raw, Mapping) else None
    if not isinstance(found, list) or not found or len(found) > MAX_ACTIONS:
        return []
    configs = raw.get("review_configs") if isinstance(raw, Mapping) else None
    held = _held(state)
    pairs = []
    for place, action in enumerate(found):
        action = action if isinstance(action, Mapping) else {}
        name = action.get("name")
        allows = _allowed(configs, name)
        alone = len(found) == 1
        pairs.append(_action(state, told, dialect, action, place, alone, allows, held))
    return pairs


def _action(
    state: State,
    told: Told,
    dialect: Dialect,
    action: Mapping[str, Any],
    place: int,
    alone: bool,
    allows: tuple[str, ...],
    held: list[Held],
) -> Pair:
    path = (*calls.root_of(told, dialect), "action_requests", place)
    name = action.get("name")
    tool = name if isinstance(name, str) else ""
    arguments = calls.slice_at(told.text, (*path, "args"))
    trouble = told.trouble or ("" if tool and arguments else NEVER_SHOWN) or calls.problem(arguments)
    trouble = trouble or ("" if calls.arguments_of(arguments) is not None else "its arguments are no object")
    trouble = trouble or ("" if allows else "the server does not say which answers it takes for it")
    trouble = trouble or not_allowed(allows)
    call_id = _same_call(held, tool, arguments)
    given = told.interrupt["id"] or made_up_key(told)
    said = action.get("description")
    ask = Ask(
        key=key_of(given) if alone else f"{key_of(given)[: KEY_LIMIT - 5]}/{place}",
        id=told.interrupt["id"],
        tool_call_id=call_id,
        reason=told.interrupt["reason"],
        dialect=dialect.name,
        channel=told.channel,
        tool=tool,
        place=place,
        allows=allows,
        event=told.event,
    )
    asked = Asked(
        call_id=ask.key,
        tool=short(tool or told.interrupt["reason"], 300),
        arguments=text(arguments)[0],
        message=text(said)[0] if isinstance(said, str) else "",
        tool_call_id=short(call_id, 300),
        expires_at=short(field(told.interrupt, "expiresAt") or "", 200),
        reason=short(told.interrupt["reason"], 200),
        edit="edit" in allows and not trouble,
        hears_reason="reject" in allows,
        no_edit="" if "edit" in allows else NO_CHANGES,
        no_reason="" if "reject" in allows else NO_REFUSAL,
        problem=short(trouble, 500),
        together=True,
        **spoken(dialect, state.opening.dialect),
    )
    return ask, asked


def _allowed(configs: Any, tool: Any) -> tuple[str, ...]:
    """The decisions that are taken for an action: by its name, on which all its configurations must agree."""
    listed = configs if isinstance(configs, list) else []
    kinds = [
        one.get("allowed_decisions") for one in listed if isinstance(one, Mapping) and one.get("action_name") == tool
    ]
    if not kinds or any(kind != kinds[0] for kind in kinds) or not isinstance(kinds[0], list):
        return ()
    return tuple(kind for kind in kinds[0] if isinstance(kind, str))


def _held(state: State) -> list[Held]:
    """The last calls of the conversation that have no result yet."""
    done = {message.get("toolCallId") for message in state.messages.values() if message.get("role") == "tool"}
    found = [call for message in state.messages.values() for call in history.tool_calls(message)]
    made = []
    for call in found[-MAX_ACTIONS:]:
        call_id, function = call.get("id"), call.get("function")
        if not isinstance(call_id, str) or call_id in done or not isinstance(function, dict):
            continue
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and isinstance(arguments, str):
            made.append((call_id, name, canonical(arguments)))
    return made


def _same_call(held: list[Held], tool: str, arguments: str) -> str:
    """The call that an action is about: of its name and arguments, and no other action's. Takes it off the list."""
    wanted = canonical(arguments)
    for one in held:
        if one[1:] == (tool, wanted):
            held.remove(one)
            return one[0]
    return ""
