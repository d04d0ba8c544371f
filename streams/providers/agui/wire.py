"""AG-UI's wire, two stages: tolerant first (what newer and older peers say is stripped), strict on what is known.

Source: docs.ag-ui.com/spec/1.0 `schema` and `basic/processing`, read 2026-11. One deviation: a `timestamp` may be any
number, since servers that stamp with a float would otherwise lose every request for a value that nobody reads.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from streams import jsontext
from streams.events import short

Event = Mapping[str, Any]
VERSION: Final = "1.0"
SPELLED: Final = re.compile("([0-9]{1,9})[.]([0-9]{1,9})(?:[.][0-9]{1,9})?", re.ASCII)


class Violation(ValueError):
    """The stream breaks the protocol: from here on it cannot be trusted."""


class Unreadable(ValueError):
    """Data that maps to no event: it is stored and nothing is known of it."""


def _text(value: Any) -> bool:
    return type(value) is str


def _filled(value: Any) -> bool:
    return type(value) is str and value != ""


def _object(value: Any) -> bool:
    return type(value) is dict


def _list(value: Any) -> bool:
    return type(value) is list


def _any(value: Any) -> bool:
    return True


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _boolean(value: Any) -> bool:
    return type(value) is bool


def _content(value: Any) -> bool:
    return type(value) is str or (type(value) is list and all(type(part) is dict for part in value))


Check = Callable[[Any], bool]
Field = tuple[str, str, Check, bool]  # camelCase name, snake_case name, check, required

ROLES: Final = frozenset({"developer", "system", "assistant", "user"})
MESSAGE_ROLES: Final = ROLES | {"tool", "activity", "reasoning"}


def _fields(needed: Mapping[str, Check], optional: Mapping[str, Check]) -> tuple[Field, ...]:
    listed = [(name, check, True) for name, check in needed.items()]
    listed += [(name, check, False) for name, check in optional.items()]
    return tuple((name, _snake(name), check, required) for name, check, required in listed)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_MESSAGE: Final[dict[str, Check]] = {"messageId": _filled}
_CALL: Final[dict[str, Check]] = {"toolCallId": _filled}
_RUN: Final[dict[str, Check]] = {"threadId": _text, "runId": _filled}
_COMMON: Final[dict[str, Check]] = {"timestamp": _number, "metadata": _object, "rawEvent": _any}
_TAGGED: Final[dict[str, Check]] = {"subagentRunId": _filled, **_COMMON}
_DELTA: Final[dict[str, Check]] = {"delta": _text}
_OPENED: Final[dict[str, Check]] = {"role": _text, "name": _text}
_SUBAGENT: Final[dict[str, Check]] = {"subagentRunId": _filled}

FIELDS: Final[Mapping[str, tuple[Field, ...]]] = {
    "RUN_STARTED": _fields(_RUN, {"protocolVersion": _text, "parentRunId": _text, "input": _object, **_COMMON}),
    "RUN_FINISHED": _fields(_RUN, {"result": _any, "outcome": _any, "usage": _list, **_COMMON}),
    "RUN_ERROR": _fields({"message": _text}, {"code": _text, "usage": _list, **_COMMON}),
    "STEP_STARTED": _fields({"stepName": _text}, _TAGGED),
    "STEP_FINISHED": _fields({"stepName": _text}, _TAGGED),
    "TEXT_MESSAGE_START": _fields(_MESSAGE, {**_OPENED, **_TAGGED}),
    "TEXT_MESSAGE_CONTENT": _fields({**_MESSAGE, **_DELTA}, _TAGGED),
    "TEXT_MESSAGE_END": _fields(_MESSAGE, _TAGGED),
    "TEXT_MESSAGE_CHUNK": _fields({}, {**_MESSAGE, **_OPENED, **_DELTA, **_TAGGED}),
    "TOOL_CALL_START": _fields({**_CALL, "toolCallName": _text}, {"parentMessageId": _text, **_TAGGED}),
    "TOOL_CALL_ARGS": _fields({**_CALL, **_DELTA}, _TAGGED),
    "TOOL_CALL_END": _fields(_CALL, _TAGGED),
    "TOOL_CALL_CHUNK": _fields({}, {**_CALL, "toolCallName": _text, "parentMessageId": _text, **_DELTA, **_TAGGED}),
    "TOOL_CALL_RESULT": _fields({**_MESSAGE, **_CALL, "content": _content}, {"role": _text, **_TAGGED}),
    "STATE_SNAPSHOT": _fields({"snapshot": _any}, _TAGGED),
    "STATE_DELTA": _fields({"delta": _any}, _TAGGED),
    "MESSAGES_SNAPSHOT": _fields({"messages": _list}, _COMMON),
    "ACTIVITY_SNAPSHOT": _fields(
        {**_MESSAGE, "activityType": _text, "content": _object}, {"replace": _boolean, **_TAGGED}
    ),
    "ACTIVITY_DELTA": _fields({**_MESSAGE, "activityType": _text, "patch": _any}, _TAGGED),
    "REASONING_START": _fields(_MESSAGE, _TAGGED),
    "REASONING_END": _fields(_MESSAGE, _TAGGED),
    "REASONING_MESSAGE_START": _fields(_MESSAGE, {"role": _text, **_TAGGED}),
    "REASONING_MESSAGE_CONTENT": _fields({**_MESSAGE, **_DELTA}, _TAGGED),
    "REASONING_MESSAGE_END": _fields(_MESSAGE, _TAGGED),
    "REASONING_MESSAGE_CHUNK": _fields({}, {**_MESSAGE, **_DELTA, **_TAGGED}),
    "REASONING_ENCRYPTED_VALUE": _fields(
        {"subtype": _text, "entityId": _text, "encryptedValue": _text}, {"encryptedValueType": _text, **_TAGGED}
    ),
    "SUBAGENT_STARTED": _fields(
        {**_SUBAGENT, "name": _text},
        {
            "description": _text,
            "parentSubagentRunId": _text,
            "parentToolCallId": _text,
            "parentMessageId": _text,
            **_COMMON,
        },
    ),
    "SUBAGENT_FINISHED": _fields(_SUBAGENT, {"result": _any, "outcome": _any, **_COMMON}),
    "SUBAGENT_ERROR": _fields({**_SUBAGENT, "message": _text}, {"code": _text, **_COMMON}),
    "RAW": _fields({"event": _any}, {"source": _text, **_TAGGED}),
    "CUSTOM": _fields({"name": _text, "value": _any}, _TAGGED),
}

# Retired 0.x shapes (the repository's DEPRECATIONS.md): they carry no messageId, the fold makes one up.
RETIRED: Final[Mapping[str, str]] = {
    "THINKING_START": "REASONING_START",
    "THINKING_END": "REASONING_END",
    "THINKING_TEXT_MESSAGE_START": "REASONING_MESSAGE_START",
    "THINKING_TEXT_MESSAGE_CONTENT": "REASONING_MESSAGE_CONTENT",
    "THINKING_TEXT_MESSAGE_END": "REASONING_MESSAGE_END",
}

_KEEPS_NULL: Final = frozenset({"snapshot", "value", "event"})  # required, any JSON: null is a value
_memo: tuple[str, tuple[Event, str]] = ("", ({}, ""))


def decode(data: str) -> tuple[Event, str]:
    """A frame's data as an object, and what is odd about it: "" or why it is not strictly JSON. Raises Unreadable.

    The last answer is kept, since kind_of() and step() ask for the same frame one after the other.
    """
    global _memo
    known, answer = _memo
    if known is not data:
        answer = _decode(data)
        _memo = (data, answer)
    return answer


def _decode(data: str) -> tuple[Event, str]:
    odd = ""
    try:
        value = jsontext.quick(data)
    except ValueError as exc:
        odd = str(exc)
        try:
            value = jsontext.lenient(data)
        except ValueError:
            raise Unreadable(f"not JSON: {odd}") from exc
    if type(value) is not dict:
        raise Unreadable("not an object")
    return value, odd


def check(kind: str, event: Event) -> Event:
    """The event with camelCase keys and without optional nulls. Raises Violation for a known field with a bad value."""
    made: dict[str, Any] | None = None
    for name, snake, fits, required in FIELDS[kind]:
        if name in event:
            value = event[name]
        elif snake in event:  # Python servers that forget to write aliases
            value = event[snake]
            made = made or dict(event)
            made[name] = value
        elif required:
            raise Violation(f"{kind} without {name}")
        else:
            continue
        if fits(value) and (value is not None or name in _KEEPS_NULL):
            continue
        if value is None and not required:  # old peers write null where 1.0 leaves out
            made = made or dict(event)
            del made[name]
        else:
            raise Violation(f"{kind}: {name} has a value that it cannot have")
    return event if made is None else made


def other_version(event: Event) -> str:
    """A word on a version that this code was not made for; the run goes on. None given: a server from before 1.0."""
    told = event.get("protocolVersion")
    if told is None:
        return ""
    parts = SPELLED.fullmatch(told)
    if parts is None:
        return short(f"the server names no version of the protocol that can be read: {told}", 200)
    spoken, known = (int(parts[1]), int(parts[2])), tuple(map(int, VERSION.split(".")))
    return short(f"the server speaks AG-UI {told}, newer than {VERSION}", 200) if spoken > known else ""
