"""Whatever a provider sends, in any order: no adapter raises, grows wild or approves what it could not read."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from streams import jsontext
from streams.errors import WireError
from streams.events import Asked, Broken, Ended, Fact
from streams.providers.agui import AGUI, wire
from streams.providers.base import Carried, Question
from streams.providers.mindra import Mindra
from streams.sse import Frame
from tests.long_form import examples
from tests.streams import agui_frames as f
from tests.streams import tapes

ADAPTERS = [Mindra(), AGUI()]
FUZZ = settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])

IDS = st.sampled_from(["a", "b", "tc-4", "m2", "run-1", "run-2", "th-8", "", "x" * 400, "\0", "\ud800", "..", "é/?"])
SCALARS = (
    IDS
    | st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.just(10**400)
    | st.sampled_from(
        ["success", "interrupt", "cancelled", "assistant", "tool", "completed", "add", "/a", "{", '{"a":1}']
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(IDS | st.sampled_from(["id", "type", "name", "op", "path", "value"]), inner, max_size=4)
    ),
    max_leaves=8,
)
NAMES = sorted({name for fields in wire.FIELDS.values() for name, *_ in fields} | {"interrupts", "interrupt"})
KINDS = st.sampled_from([*wire.FIELDS, *wire.RETIRED, "FUTURE", "", 5])

VALID = [
    f.started(),
    *f.said(),
    *f.called(),
    f.ev("TEXT_MESSAGE_CHUNK", messageId="m5", delta="x"),
    f.ev("TOOL_CALL_CHUNK", toolCallId="b", toolCallName="t", delta="{"),
    f.ev("TOOL_CALL_RESULT", messageId="r", toolCallId="b", content="ok"),
    f.ev("STATE_SNAPSHOT", snapshot={"a": [1]}),
    f.ev("STATE_DELTA", delta=[{"op": "add", "path": "/a/-", "value": 1}]),
    f.ev("MESSAGES_SNAPSHOT", messages=[{"id": "m2", "role": "assistant", "content": None, "toolCalls": [5, {}]}]),
    f.ev("CUSTOM", name="on_interrupt", value='{"id":"i"}'),
    f.ev("RUN_ERROR", message="m", code="C"),
    f.paused(),
    f.finished(),
]


@st.composite
def agui_frames(draw: st.DrawFn) -> Frame:
    """A frame that is often nearly right."""
    if draw(st.integers(0, 9)) == 0:
        return Frame(data=draw(st.text(max_size=30)))
    if draw(st.booleans()):
        event = {"type": draw(KINDS), **draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))}
    else:
        event = json.loads(draw(st.sampled_from(VALID)).data)
        for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=2)):
            event[name] = draw(VALUES)
    return Frame(data=json.dumps(event))


@st.composite
def mindra_frames(draw: st.DrawFn) -> Frame:
    kind = draw(
        st.sampled_from(["chunk", "tool_executing", "tool_result", "approval_request", "done", "error", "message", "x"])
    )
    names = [
        "approval_id",
        "tool_name",
        "tool_input",
        "content",
        "result",
        "status",
        "execution_id",
        "final_answer",
        "error",
    ]
    data = json.dumps(draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=5)))
    if draw(st.integers(0, 5)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return Frame(kind, data)


CARRIED = Carried(Question("ask-1", "pay", '{"a":1}', "tc-4"), "approve", only_open=True, answering_run="run-1")


def survive(adapter: Any, frames: list[Frame]) -> list[Any]:
    """Everything that an adapter may be asked about frames; the facts."""
    state, facts = adapter.initial(f.ACCOUNT, f.RUN), list[Fact]()
    for frame in frames:
        kind = adapter.kind_of(frame)
        assert len(kind) <= 100
        before = adapter.dump(state)
        after, told = adapter.step(state, frame)
        assert adapter.dump(state) == before  # the old state is left alone
        again, same = adapter.step(adapter.load(before), frame)
        assert same == told
        assert adapter.dump(again) == adapter.dump(after)
        adapter.lines(kind, frame.data)
        adapter.evidence(CARRIED, kind, frame.data)
        state, facts = after, [*facts, *told]
    for fact in [*facts, *adapter.at_eof(state)]:
        check(fact)
    return facts


def check(fact: Any) -> None:
    """Facts fit their columns and can be stored; what is approvable reads the same everywhere."""
    if isinstance(fact, Asked):
        assert 0 < len(fact.call_id) <= 300
        assert len(fact.tool) <= 300
        assert len(fact.tool_call_id) <= 300
        for text in (fact.call_id, fact.tool, fact.arguments, fact.message, fact.expires_at, fact.reason, fact.problem):
            assert "\0" not in text
            text.encode()
        assert fact.problem or not fact.arguments.strip() or not jsontext.problem(fact.arguments)
    if isinstance(fact, Ended):
        assert len(fact.outcome) <= 60
        (fact.outcome + fact.error).encode()
        if fact.how == "finished":
            assert fact.outcome in ("", "success", "completed", "continued")
    if isinstance(fact, Broken):
        assert 0 < len(fact.problem) <= 500
        fact.problem.encode()


@FUZZ
@given(st.lists(agui_frames(), max_size=12))
def test_ag_ui_survives_any_frames_in_any_order(frames: list[Frame]) -> None:
    survive(ADAPTERS[1], frames)


@FUZZ
@given(st.lists(agui_frames(), max_size=8))
def test_ag_ui_survives_any_frames_in_a_run(frames: list[Frame]) -> None:
    facts = survive(ADAPTERS[1], [f.started(), *f.said(), *f.called(), *frames, f.paused()])
    assert sum(isinstance(fact, Ended) and fact.how == "finished" for fact in facts) <= 1


@FUZZ
@given(st.lists(mindra_frames(), max_size=12))
def test_mindra_survives_any_frames_in_any_order(frames: list[Frame]) -> None:
    facts = survive(ADAPTERS[0], frames)
    assert sum(isinstance(fact, Ended) for fact in facts) <= 1


@FUZZ
@given(st.sampled_from(tapes.ALL), st.randoms(use_true_random=False), st.integers(0, 40), VALUES)
def test_a_mutated_tape_is_survived(name: str, random: Any, at: int, value: Any) -> None:
    frames = tapes.frames(name)
    assume(len(frames) <= 40)
    index = at % len(frames)
    event = json.loads(frames[index].data)
    event[random.choice(sorted(event))] = value
    frames[index] = Frame(data=json.dumps(event))
    state, facts = AGUI().initial(f.ACCOUNT, f.RUN, tapes.opening(name)), list[Fact]()
    for frame in frames:
        state, told = AGUI().step(state, frame)
        facts += told
    for fact in facts:
        check(fact)
    AGUI().load(AGUI().dump(state))


@FUZZ
@given(st.lists(agui_frames(), max_size=6), st.integers(0, 30))
def test_folding_on_from_a_checkpoint_is_folding_the_whole(frames: list[Frame], at: int) -> None:
    adapter, whole = AGUI(), [f.started(), *f.said(), *frames, *f.called(), f.paused()]
    state, facts = adapter.initial(f.ACCOUNT, f.RUN), list[Fact]()
    for frame in whole:
        state, told = adapter.step(state, frame)
        facts += told
    other, same = adapter.initial(f.ACCOUNT, f.RUN), list[Fact]()
    for index, frame in enumerate(whole):
        if index == at % len(whole):
            other = adapter.load(adapter.dump(other))
        other, told = adapter.step(other, frame)
        same += told
    assert same == facts
    assert adapter.dump(other) == adapter.dump(state)


HOSTILE = {
    "deep": "[" * 100_000,
    "deep and closed": "[" * 5_000 + "]" * 5_000,
    "deep object": '{"a":' * 100_000,
    "many digits": '{"type":' + "9" * 100_000 + "}",
    "digits in a delta": '{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":' + "9" * 5_000 + "}",
    "deep metadata": '{"type":"TEXT_MESSAGE_START","messageId":"m","metadata":{"a":' + "[" * 800 + "]" * 800 + "}}",
    "deep result": '{"type":"TOOL_CALL_RESULT","messageId":"r","toolCallId":"t","content":[{"a":'
    + "[" * 900
    + "]" * 900
    + "}]}",
    "deep interrupt": f.paused().data[:-3] + ',"metadata":{"a":' + "[" * 900 + "]" * 900 + "}}]}}",
    "long id": '{"approval_id":"' + "x" * 1_000_000 + '"}',
    "quotes": '"\\"' * 100_000,
    "backslashes": '{"approval_id":"' + "\\" * 200_001,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("adapter", ADAPTERS, ids=["mindra", "agui"])
def test_hostile_frames_are_survived(adapter: Any, data: str) -> None:
    for kind in ("message", "approval_request", "done", "chunk"):
        survive(adapter, [f.started(), Frame(kind, data), f.paused()])


@FUZZ
@given(st.sampled_from(["approve", "reject", "nobody"]), VALUES, IDS, IDS)
def test_an_answer_is_valid_json_or_a_wire_error(verdict: str, schema: Any, interrupt_id: str, reason: str) -> None:
    assume(interrupt_id)
    interrupt = f.interrupt(interrupt_id, responseSchema=schema if isinstance(schema, dict) else ...)
    state, facts = f.fold(f.started(), *f.called(), f.paused(interrupt))
    for asked in f.asks(facts):
        try:
            call = AGUI().decision_call(
                f.ACCOUNT, f.RUN, state, [f.answer(asked, verdict, reason=reason)], new_run_id="n"
            )
        except WireError:
            continue
        (entry,) = f.body_of(call)["resume"]
        assert entry["interruptId"] == interrupt_id
        assert entry["status"] in ("resolved", "cancelled")
