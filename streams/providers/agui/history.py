"""The conversation as the next run's input must carry it. Every function gives a new mapping and changes none."""

from collections.abc import Mapping, Sequence
from typing import Any

from streams.providers.agui.state import Message
from streams.providers.agui.wire import MESSAGE_ROLES, Event, Violation

Messages = Mapping[str, Message]
KEPT_UNLESS_RESTATED = ("activity", "reasoning")


def opened(messages: Messages, message_id: str, role: str, event: Event) -> Messages:
    """A message begins, or goes on if it is there already."""
    old = messages.get(message_id)
    if old is not None:
        return with_metadata(messages, message_id, event)
    made: dict[str, Any] = {"id": message_id, "role": role, "content": ""}
    described = ("subagentRunId", "metadata") if role == "reasoning" else ("name", "subagentRunId", "metadata")
    for key in described:  # a member that the event's type does not have is stripped, whatever it is
        if key in event:
            made[key] = event[key]
    return {**messages, message_id: made}


def said(messages: Messages, message_id: str, content: str, role: str) -> Messages:
    """A message has its whole text; where a snapshot dropped it meanwhile, it comes back."""
    old = messages.get(message_id) or {"id": message_id, "role": role}
    return {**messages, message_id: {**old, "content": content}}


def content_of(messages: Messages, message_id: str) -> str:
    found = messages.get(message_id, {}).get("content")
    return found if isinstance(found, str) else ""


def with_metadata(messages: Messages, message_id: str, event: Event) -> Messages:
    """An event's metadata merges key by key, the last one wins."""
    old, news = messages.get(message_id), event.get("metadata")
    if old is None or not news:
        return messages
    return {**messages, message_id: {**old, "metadata": {**(old.get("metadata") or {}), **news}}}


def holder_of(messages: Messages, call_id: str) -> str:
    """The id of the message that holds a call; empty if none does."""
    for message_id, message in messages.items():
        if any(call.get("id") == call_id for call in tool_calls(message)):
            return message_id
    return ""


def tool_calls(message: Message) -> Sequence[Mapping[str, Any]]:
    found = message.get("toolCalls")
    return [call for call in found if isinstance(call, dict)] if isinstance(found, list) else []


def called(messages: Messages, call_id: str, name: str, arguments: str, parent: str, owner: str = "") -> Messages:
    """A call with its arguments so far, on its parent message, which is made up if it is not an assistant's."""
    function = {"name": name, "arguments": arguments}
    holder = holder_of(messages, call_id)
    if holder:
        calls = [
            {**call, "function": function} if call.get("id") == call_id else call
            for call in tool_calls(messages[holder])
        ]
        return {**messages, holder: {**messages[holder], "toolCalls": calls}}
    holder = parent or call_id
    if messages.get(holder, {"role": "assistant"}).get("role") != "assistant":
        holder = call_id
    message: Message = messages.get(holder) or {"id": holder, "role": "assistant", **_tag(owner)}
    calls = [*tool_calls(message), {"id": call_id, "type": "function", "function": function}]
    return {**messages, holder: {**message, "toolCalls": calls}}


def _tag(owner: str) -> dict[str, str]:
    return {"subagentRunId": owner} if owner else {}


def find_call(messages: Messages, call_id: str) -> tuple[str, str] | None:
    """Name and arguments of a call that the conversation holds."""
    for message in messages.values():
        for call in tool_calls(message):
            function = call.get("function")
            if call.get("id") == call_id and isinstance(function, dict):
                name, arguments = function.get("name"), function.get("arguments")
                return (name if isinstance(name, str) else "", arguments if isinstance(arguments, str) else "")
    return None


def answered(messages: Messages, event: Event) -> Messages:
    """A tool's result is a message of its own."""
    made = {
        "id": event["messageId"],
        "role": "tool",
        "toolCallId": event["toolCallId"],
        "content": event["content"],
    }
    for key in ("subagentRunId", "metadata"):
        if key in event:
            made[key] = event[key]
    return {**messages, event["messageId"]: made}


def has_result(messages: Messages, call_id: str, *, besides: str = "") -> bool:
    """Whether the conversation holds a result for a call; messages whose ids begin with `besides` are none."""
    return any(
        message.get("role") == "tool" and message.get("toolCallId") == call_id
        for message_id, message in messages.items()
        if not besides or not message_id.startswith(besides)
    )


def sealed(messages: Messages, event: Event) -> Messages | None:
    """Store an encrypted value, its type with it, at the message or call it names; None where there is none."""
    entity, subtype = event["entityId"], event["subtype"]
    if subtype == "message" and entity in messages and messages[entity].get("role") != "activity":
        return {**messages, entity: _sealed(messages[entity], event)}
    holder = holder_of(messages, entity) if subtype == "tool-call" else ""
    if not holder:
        return None
    calls = [_sealed(call, event) if call.get("id") == entity else call for call in tool_calls(messages[holder])]
    return {**messages, holder: {**messages[holder], "toolCalls": calls}}


def _sealed(thing: Mapping[str, Any], event: Event) -> dict[str, Any]:
    made = {**thing, "encryptedValue": event["encryptedValue"]}
    made.pop("encryptedValueType", None)
    if "encryptedValueType" in event:
        made["encryptedValueType"] = event["encryptedValueType"]
    return made


def restated(messages: Messages, snapshot: Sequence[Any]) -> tuple[Messages, list[str]]:
    """MESSAGES_SNAPSHOT: same id replaces in place, an unknown id is appended, what it leaves out goes.

    Activity and reasoning messages stay where the snapshot has none of that role. Returns the roles that nobody knows.
    """
    told: dict[str, Message] = {}
    unknown: list[str] = []
    for message in snapshot:
        if type(message) is not dict:
            raise Violation("MESSAGES_SNAPSHOT: a message is an object")
        message_id, role = message.get("id"), message.get("role")
        if type(message_id) is not str or type(role) is not str:
            raise Violation("MESSAGES_SNAPSHOT: a message has an id and a role")
        if role not in MESSAGE_ROLES:
            unknown.append(role)
            continue
        told[message_id] = {key: value for key, value in message.items() if value is not None}
    roles = {message["role"] for message in told.values()}
    made: dict[str, Message] = {}
    for message_id, message in messages.items():
        if message_id in told:
            made[message_id] = told.pop(message_id)
        elif message.get("role") in KEPT_UNLESS_RESTATED and message.get("role") not in roles:
            made[message_id] = message
    return {**made, **told}, unknown


def outgoing(messages: Messages) -> list[Message]:
    """What the next input carries: everything but activities, which are for the screen only.

    A result that came behind a later turn goes back to its call, since a model takes it nowhere else: a snapshot that
    restates it under another id has it appended (agent-framework 1.7 does so).
    """
    kept = [message for message in messages.values() if message.get("role") != "activity"]
    holders = {str(call.get("id")): place for place, message in enumerate(kept) for call in tool_calls(message)}
    made: list[list[Message]] = []  # each message, and the results that go behind it
    last_turn = -1
    for place, message in enumerate(kept):
        made.append([])
        holder = holders.get(str(message.get("toolCallId")), place) if message.get("role") == "tool" else place
        made[holder if holder < last_turn else place].append(message)
        if message.get("role") in ("assistant", "user"):
            last_turn = place
    return [message for group in made for message in group]
