"""The call that a question is about: streamed, in the conversation, or where its framework keeps it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from streams import jsontext
from streams.dialects import Dialect, Path
from streams.events import canonical
from streams.providers.agui import history
from streams.providers.agui.state import State
from streams.providers.agui.told import NEVER_SHOWN, Told, field

TWO_CALLS: Final = "the stream and the question tell different calls"


def find(state: State, told: Told, dialect: Dialect) -> tuple[str, str, str, str]:
    """Tool, exact arguments, id of the call, and what is wrong with them: the streamed call, else the one in place."""
    call_id = field(told.interrupt, "toolCallId") or _in_id(state, told, dialect)
    placed = _placed(told, dialect)
    if dialect.place_first and placed is not None:
        tool, arguments, real_id = placed
        streamed = state.calls.get(real_id)
        if streamed is not None and (streamed.name, True) != (tool, same_arguments(streamed.arguments, arguments)):
            return tool, arguments, real_id, TWO_CALLS
        return tool, arguments, real_id or call_id, ""
    if dialect.place_first:
        return "", "", call_id, NEVER_SHOWN
    found = _streamed(state, call_id) if call_id else None
    if found is not None:
        tool, arguments, where = found
        if placed is not None and placed[0] and not where:
            same = placed[0] == tool and same_arguments(placed[1], arguments)
            where = "" if same else TWO_CALLS
        return tool, arguments, call_id, where
    if placed is not None:
        return placed[0], placed[1], call_id, ""
    return "", "", call_id, NEVER_SHOWN if call_id else ""


def _in_id(state: State, told: Told, dialect: Dialect) -> str:
    """The call's id out of the question's own, if there was such a call."""
    call_id = dialect.call_in_id(told.interrupt["id"])
    return call_id if call_id and _streamed(state, call_id) is not None else ""


def _streamed(state: State, call_id: str) -> tuple[str, str, str] | None:
    """A call as the stream and the conversation tell it, and what is wrong with it."""
    told, held = state.calls.get(call_id), history.find_call(state.messages, call_id)
    if told is None:
        return (*held, "") if held is not None else None
    if told.torn:
        return told.name, told.arguments, "a piece of its arguments could not be read"
    if held and (held[0], canonical(held[1])) != (told.name, canonical(told.arguments)):
        if held[0] == told.name and jsontext.problem(told.arguments) and not jsontext.problem(held[1]):
            return *held, ""  # ag-ui-langgraph 0.0.47 streams only the rest of them; its snapshot restates the call
        return told.name, told.arguments, "the stream and the conversation tell different calls"
    return told.name, told.arguments, ""


def _placed(told: Told, dialect: Dialect) -> tuple[str, str, str] | None:
    root = root_of(told, dialect)
    for place in dialect.places:
        found = slice_at(told.text, (*root, *place.arguments))
        if found:
            tool = _unquoted(slice_at(told.text, (*root, *place.tool))) if place.tool else ""
            call_id = _unquoted(slice_at(told.text, (*root, *place.call))) if place.call else ""
            return tool, _unquoted_arguments(found), call_id
    return None


def root_of(told: Told, dialect: Dialect) -> Path:
    return told.root if told.root is not None else (*told.base, *dialect.root)


def sent(told: Told) -> str:
    """What was sent beside the words of AG-UI itself."""
    return slice_at(told.text, told.root if told.root is not None else (*told.base, "metadata"))


def words(told: Told, dialect: Dialect) -> str:
    """What is asked beside the call: AG-UI's message, else where the dialect keeps it. Both for an answer."""
    message = field(told.interrupt, "message") or ""
    if not dialect.words or (message and not dialect.answer_key):
        return message
    found = slice_at(told.text, (*root_of(told, dialect), *dialect.words))
    return "\n".join(filter(None, (message, _unquoted(found) or found)))


def slice_at(spelled: str, path: Path) -> str:
    try:
        return jsontext.raw_slice(spelled, path) if spelled else ""
    except (ValueError, LookupError):
        return ""


def value_of(told: Told, path: Path) -> Any:
    try:
        return jsontext.lenient(slice_at(told.text, path))
    except ValueError:
        return None


def _unquoted(spelled: str) -> str:
    try:
        value = json.loads(spelled)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""


def _unquoted_arguments(spelled: str) -> str:
    """Arguments that a server put into a text are that text; all others are the slice itself."""
    inner = _unquoted(spelled) if spelled.startswith('"') else ""
    return inner if inner.lstrip().startswith("{") else spelled


def problem(arguments: str) -> str:
    """Why arguments cannot be approved; a call without any is a call without parameters."""
    return jsontext.problem(arguments) if arguments.strip() else ""


def arguments_of(arguments: str) -> Mapping[str, Any] | None:
    """The arguments as an object, None where they are none."""
    try:
        value = jsontext.strict(arguments) if arguments.strip() else {}
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def same_arguments(one: str, other: str) -> bool:
    """Whether two spellings mean the same arguments. 1 and 1.0 do: JavaScript writes one as the other."""
    if canonical(one.strip() or "{}") == canonical(other.strip() or "{}"):
        return True
    first, second = arguments_of(one), arguments_of(other)
    return first is not None and second is not None and _alike(first, second)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_alike(*both) for both in zip(one, other, strict=True))
    if isinstance(one, bool) or isinstance(other, bool) or type(one) in (dict, list):
        return one is other
    return bool(one == other)
