"""Whatever bytes a server sends: nothing broken becomes a question that can be approved, no answer names a new id."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import dialects, jsontext
from streams.errors import WireError
from streams.events import Asked, Ended, Fact, Paused
from streams.providers.agui.state import State
from streams.providers.base import Account, Answer, Question
from streams.sse import Decoder, Frame
from tests.long_form import examples
from tests.streams import tapes
from tests.streams.agui_frames import KEY, RUN, agui, begin, called, ev, finished, paused, started
from tests.streams.dialect_cases import ADK_CALL, CASES, HEX, Case, langgraph

FUZZ = settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAUSES = [name for name in tapes.ALL if "run1" in name and len(tapes.raw(name)) < 25_000]
PINS = st.sampled_from(["", *dialects.DIALECTS])
TEXTS = st.sampled_from(
    ["", "a", HEX, "\0", "\ud800", "{", "{}", '{"a":1,"a":2}', "approve", "tool_approval", "x" * 400]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            TEXTS
            | st.sampled_from(
                [
                    "type",
                    "name",
                    "args",
                    "id",
                    "action_requests",
                    "review_configs",
                    "originalFunctionCall",
                    "toolCallId",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


def bytes_of(case: Case) -> bytes:
    return b"".join(b"data: " + frame.data.encode() + b"\n\n" for frame in [started(), *case.frames])


def play(state: State, frames: list[Frame]) -> tuple[State, list[Fact]]:
    facts: list[Fact] = []
    for frame in frames:
        state, told = agui.step(state, frame)
        facts += told
    return agui.load(agui.dump(state)), facts


def strings(value: Any) -> Iterator[str]:
    """Every text in a value, and in JSON inside of it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            try:
                yield from strings(json.loads(value))
            except (ValueError, RecursionError):
                return


def offered(frames: list[Frame]) -> set[str]:
    found: set[str] = set()
    for frame in frames:
        try:
            found |= set(strings(json.loads(frame.data)))
        except (ValueError, RecursionError):
            continue
    return found


def named(body: dict[str, Any]) -> set[str]:
    """The ids that an answer names, in whatever form it travels."""
    resume = body.get("resume", [])
    entries = resume if isinstance(resume, list) else [resume]
    ids = {entry["interruptId"] for entry in entries if "interruptId" in entry}
    ids |= {one["toolCallId"] for one in body["messages"] if one.get("id", "").startswith("answer-")}
    command = body["forwardedProps"].get("command", {}) if isinstance(body["forwardedProps"], dict) else {}
    said = command.get("resume")
    if isinstance(said, dict) and said and all(len(key) == 32 for key in said):
        ids |= set(said)
    return ids


def check(state: State, facts: list[Fact], frames: list[Frame]) -> None:
    """What must hold of any pause, and of any answer to it."""
    found = [fact for fact in facts if isinstance(fact, Asked)]
    for asked in found:
        assert asked.problem or not asked.arguments.strip() or not jsontext.problem(asked.arguments)
        assert not (asked.problem and asked.edit)
        assert 0 < len(asked.call_id) <= 300
        (asked.limits + asked.problem + asked.tool + asked.message).encode()
    if any(asked.problem.startswith("paused in a form") for asked in found):
        assert state.asks == ()
        assert not any(isinstance(fact, Paused) for fact in facts)
    assert not (found and any(isinstance(fact, Ended) and fact.how == "finished" for fact in facts[-1:]))
    if not state.asks:
        return
    by_key = {asked.call_id: asked for asked in found}
    known = offered(frames)
    for verdict in ("approve", "reject", "nobody"):
        answers = [
            Answer(Question(key, one.tool, one.arguments, one.tool_call_id), verdict, KEY, reason="no")
            for key, one in ((ask.key, by_key[ask.key]) for ask in state.asks)
        ]
        try:
            call = agui.decision_call(Account("http://a.example/"), RUN, state, answers, new_run_id="new")
        except WireError:
            continue
        body = json.loads(call.body or b"")
        assert named(body) <= known
        if verdict != "approve":
            said = [entry.get("payload") for entry in body.get("resume", []) if isinstance(entry, dict)]
            assert not any(isinstance(one, dict) and True in one.values() for one in said)


@FUZZ
@given(st.sampled_from(sorted(CASES)), PINS, st.data())
def test_no_broken_bytes_become_a_question_that_can_be_approved(name: str, pinned: str, data: st.DataObject) -> None:
    case = CASES[name]
    raw = bytearray(bytes_of(case))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "drop", "insert", "cut"])):
            case "flip":
                raw[at] = data.draw(st.integers(0, 255))
            case "drop":
                del raw[at : at + data.draw(st.integers(1, 30))]
            case "insert":
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=5))
            case _:
                del raw[at:]
        if not raw:
            return
    frames = Decoder().feed(bytes(raw))
    state, facts = play(begin(account=Account("http://a.example/", dialect=case.pinned or pinned)), frames)
    check(state, facts, frames)


@FUZZ
@given(st.sampled_from(PAUSES), st.data())
def test_no_broken_tape_becomes_a_question_that_can_be_approved(name: str, data: st.DataObject) -> None:
    raw = bytearray(tapes.raw(name))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    frames = Decoder().feed(bytes(raw))
    state, facts = play(agui.initial(Account("http://a.example/"), RUN, tapes.opening(name)), frames)
    check(state, facts, frames)


@FUZZ
@given(VALUES, VALUES, PINS)
def test_any_value_in_the_places_of_the_frameworks_is_survived(value: Any, other: Any, pinned: str) -> None:
    confirms = json.dumps({**ADK_CALL, "originalFunctionCall": value})
    for frames in (
        [paused(langgraph(value))],
        [paused(langgraph({"type": "tool_approval", "name": "pay", "args": value}))],
        [paused(langgraph({"action_requests": [{"name": "pay", "args": value}, other], "review_configs": other}))],
        [paused({"id": "x", "reason": "r", "metadata": {"adk": value}})],
        [paused({"id": "x", "reason": "r", "metadata": {"crewai": value}})],
        [paused({"id": "x", "reason": "r", "metadata": {"mastra": {"args": value, "toolName": other}}})],
        [paused({"id": "x", "reason": "r", "metadata": {"agent_framework": {"function_call": value}}})],
        [ev("CUSTOM", name="on_interrupt", value=value, rawEvent=other), finished()],
        [ev("CUSTOM", name="on_interrupt", value=json.dumps(value), rawEvent={"id": HEX}), finished()],
        [ev("CUSTOM", name="function_approval_request", value=value), finished()],
        [*called("adk-1", "adk_request_confirmation", confirms), finished()],
        [finished(outcome="interrupt", interrupt={"id": "x", "payload": value})],
        [finished(outcome="interrupt", interrupt=value)],
        [finished(interrupts=value)],
        [finished(interrupts=[value, other])],
    ):
        state, facts = play(begin(account=Account("http://a.example/", dialect=pinned)), [started(), *frames])
        check(state, facts, [started(), *frames])


@pytest.mark.parametrize("name", CASES)
def test_a_pause_that_is_cut_off_asks_nothing(name: str) -> None:
    frames = CASES[name].frames[:-1]
    state, facts = play(begin(), [started(), *frames])
    assert not [fact for fact in facts if isinstance(fact, Asked)]
    assert state.asks == ()
    assert [fact.how for fact in agui.at_eof(state) if isinstance(fact, Ended)] == ["truncated"]


@pytest.mark.parametrize("name", CASES)
def test_a_pause_of_which_a_piece_was_lost_cannot_be_approved(name: str) -> None:
    """An unreadable frame in the middle of the call: its arguments may lack a piece."""
    case = CASES[name]
    places = [index for index, frame in enumerate(case.frames) if '"TOOL_CALL_ARGS"' in frame.data]
    if not places or "adk" in name:  # ADK tells the call whole, in its own place
        return
    frames = [started(), *case.frames[: places[0] + 1], Frame(data="{half"), *case.frames[places[0] + 1 :]]
    _, facts = play(begin(account=Account("http://a.example/", dialect=case.pinned)), frames)
    told_whole = "middleware" in name  # LangGraph's middleware restates its calls with the question
    for asked in [fact for fact in facts if isinstance(fact, Asked)]:
        assert bool(asked.problem) != told_whole
