"""The chunked form: start, pieces and a made-up end.

Source: docs.ag-ui.com/spec/1.0 `basic/patterns/streaming`, read 2026-11.
"""

from collections.abc import Mapping
from typing import Final

from streams.providers.agui import items, wire
from streams.providers.agui.items import Folded, Handler
from streams.providers.agui.state import State
from streams.providers.agui.wire import Event, Violation

RUN_LEVEL: Final = frozenset({"RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "MESSAGES_SNAPSHOT"})
BESIDE: Final = frozenset(  # these end no chunked item: they stand aside, or open a lane of their own
    {"RAW", "ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA", "REASONING_ENCRYPTED_VALUE", "SUBAGENT_STARTED"}
)
CONTINUES: Final[Mapping[str, tuple[str, str]]] = {  # events that may leave their owner out -> what they continue
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "TOOL_CALL_ARGS": ("call", "toolCallId"),
    "TOOL_CALL_END": ("call", "toolCallId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "REASONING_END": ("span", "messageId"),
}


def lane_touched(state: State, kind: str, event: Event) -> str | None:
    """The lane in which an event ends what is told in chunks; None: all lanes."""
    if kind in RUN_LEVEL:
        return None
    if kind in CONTINUES and "subagentRunId" not in event:
        family, field = CONTINUES[kind]
        item = state.open.get(f"{family}:{event[field]}")
        return item.owner if item else ""
    return str(event.get("subagentRunId", ""))


def close(state: State, lane: str | None) -> State:
    for owner, key in state.chunked.items():
        if lane is None or owner == lane:
            state = items.finish(state, key)
    left = {owner: key for owner, key in state.chunked.items() if lane is not None and owner != lane}
    return state._replace(chunked=left)


def chunk(state: State, event: Event, family: str, id_field: str, start: Handler, repeats: Mapping[str, str]) -> Folded:
    """A chunk is a start, a piece, or both; its end is made up when its lane goes on with something else."""
    name, owner = event.get(id_field), event.get("subagentRunId")
    lane = owner if owner is not None else lane_of(state, family, name)
    current = state.chunked.get(lane, "")
    if name is None:
        if not current.startswith(f"{family}:"):
            raise Violation(f"a {family} chunk without an id continues nothing")
        name = current.partition(":")[2]
    key = f"{family}:{name}"
    if key == current:
        item = items.going(state, family, name, event)
        for field, attribute in repeats.items():
            if field in event and event[field] != getattr(item, attribute):
                raise Violation(f"a chunk contradicts the {field} that its item began with")
    else:
        state = close(state, lane)
        state, _ = start(state, {**event, id_field: name})
        state = state._replace(chunked={**state.chunked, lane: key})
    if event.get("delta"):
        state = items.grow(state, family, name, event["delta"], event)
    return (state if family == "call" else items.metadata(state, name, event)), ()


def lane_of(state: State, family: str, name: str | None) -> str:
    """The lane of a chunk without a tag: of the item it names, else the parent's, else the only one of its family."""
    mine = [lane for lane, key in state.chunked.items() if key.startswith(f"{family}:")]
    if name is not None:
        return next((lane for lane in mine if state.chunked[lane] == f"{family}:{name}"), "")
    if "" in mine or not mine:
        return ""
    if len(mine) > 1:
        raise Violation(f"a {family} chunk that could continue several items")
    return mine[0]


def text_chunk(state: State, event: Event) -> Folded:
    if "role" in event and event["role"] not in wire.ROLES:
        event = {key: value for key, value in event.items() if key != "role"}
    return chunk(state, event, "text", "messageId", items.text_start, {"role": "role", "name": "name"})


def reasoning_chunk(state: State, event: Event) -> Folded:
    return chunk(state, event, "reasoning", "messageId", items.reasoning_start, {})


def call_chunk(state: State, event: Event) -> Folded:
    return chunk(
        state, event, "call", "toolCallId", first_call_chunk, {"toolCallName": "name", "parentMessageId": "parent"}
    )


def first_call_chunk(state: State, event: Event) -> Folded:
    if "toolCallName" not in event:
        raise Violation("the first chunk of a call without toolCallName")
    return items.call_start(state, event)
