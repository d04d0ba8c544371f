"""Whatever Middesk sends, in any order: nothing raises, ends by itself, or asks what cannot be stored."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.events import Asked, Ended, Fact, Gone
from streams.providers.base import READ_BACK, Carried, Question
from streams.sse import Frame
from tests.long_form import examples
from tests.streams.middesk_frames import ON, RUN, RUN_ID, VALUE, asking, interrupt, middesk, run, snapshot
from tests.streams.test_adapters_total import check

FUZZ = settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
KINDS = st.sampled_from(
    ["RUN_STARTED", "STATE_SNAPSHOT", "RUN_FINISHED", "RUN_ERROR", "message", "FUTURE", READ_BACK, ""]
)
WORDS = ["running", "pending", "completed", "error", "failed", "interrupted", "odd", RUN_ID, "int-9", "interrupt"]
NAMES = ["run_id", "runId", "id", "type", "snapshot", "run", "state", "data", "object", "status", "interrupts", "steps"]
NAMES += ["value", "agent", "label", "artifacts", "proposals", "output", "result", "resolution", "thread_id", "error"]
SCALARS = (
    st.sampled_from([*WORDS, "", "\0", "\ud800", "x" * 400, 10**400])
    | st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
CARRIED = Carried(Question("int-9", "watchlist_resolution", VALUE), "approve", only_open=True)


@st.composite
def payloads(draw: st.DrawFn) -> str:
    """A payload that is often nearly right."""
    if draw(st.booleans()):
        made = json.loads(
            draw(st.sampled_from([snapshot(asking(interrupt())).data, asking(interrupt()), run("running")]))
        )
        place = made.get("snapshot", made)
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
            place[name] = draw(VALUES)
    else:
        made = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
    said = json.dumps(made)
    return said[: draw(st.integers(0, len(said)))] if draw(st.integers(0, 9)) == 0 else said


def survive(told: list[tuple[str, str]]) -> list[Fact]:
    """Everything that the adapter may be asked about what came. The kind READ_BACK is a read-back, not a frame."""
    state, facts = middesk.initial(ON, RUN), list[Fact]()
    for kind, data in told:
        before = middesk.dump(state)
        if kind == READ_BACK:
            after, new = middesk.read_run(state, data)
            again, same = middesk.read_run(middesk.load(before), data)
        else:
            frame = Frame(kind, data)
            assert len(middesk.kind_of(frame)) <= 100
            after, new = middesk.step(state, frame)
            again, same = middesk.step(middesk.load(before), frame)
            assert not any(isinstance(fact, Ended | Gone) for fact in new)  # only the run itself says that
        assert middesk.dump(state) == before  # the old state is left alone
        assert (middesk.dump(again), same) == (middesk.dump(after), new)
        for name in (kind, "STATE_SNAPSHOT", READ_BACK):
            for line in middesk.lines(name, data):
                (line.body + line.label + line.key).encode("utf-8", "surrogatepass")
            middesk.evidence(CARRIED, name, data)
        state, facts = after, [*facts, *new]
    for fact in [*facts, *middesk.at_eof(state)]:
        check(fact)
    return facts


@FUZZ
@given(st.lists(st.tuples(KINDS, payloads()), max_size=8))
def test_middesk_survives_anything_in_any_order(told: list[tuple[str, str]]) -> None:
    facts = survive(told)
    assert sum(isinstance(fact, Ended) for fact in facts) <= 1


@FUZZ
@given(st.lists(st.tuples(KINDS, payloads()), max_size=5), st.booleans())
def test_a_question_is_never_lost_among_them(told: list[tuple[str, str]], read_back: bool) -> None:
    """Once the run's own body lists it, it was asked, unless the run was over."""
    facts = survive([*told, (READ_BACK, asking(interrupt()))])
    ended = any(isinstance(fact, Ended) for fact in facts)
    assert ended or any(isinstance(fact, Asked) and fact.call_id == "int-9" for fact in facts)


@FUZZ
@given(st.lists(st.booleans(), max_size=6), st.integers(0, 6))
def test_a_replay_from_the_first_event_asks_nothing_anew(asks: list[bool], cut: int) -> None:
    frames = [("STATE_SNAPSHOT", snapshot(asking(interrupt()) if one else run("running")).data) for one in asks]
    once = [fact for fact in survive(frames) if isinstance(fact, Asked)]
    twice = [fact for fact in survive([*frames[:cut], *frames]) if isinstance(fact, Asked)]
    assert len(once) == len(twice) == int(any(asks)) or len(once) <= len(twice) <= 1


DEEP = '{"id":"' + RUN_ID + '","status":"interrupted","interrupts":[{"id":"i","value":{"a":%s}}]}'
HOSTILE = {
    "deep": "[" * 100_000,
    "deep and closed": "[" * 5_000 + "]" * 5_000,
    "deep object": '{"snapshot":' * 50_000,
    "deep value": DEEP % ("[" * 900 + "]" * 900),
    "deeper value": DEEP % ("[" * 5_000 + "]" * 5_000),
    "many digits": DEEP % ("9" * 100_000),
    "infinite": DEEP % "1e400",
    "nan": DEEP % "NaN",
    "long id": DEEP.replace('"i"', '"' + "x" * 1_000_000 + '"') % "1",
    "many interrupts": asking(*(interrupt(str(number)) for number in range(3_000))),
    "many equal interrupts": asking(*([interrupt()] * 3_000)),
    "many steps": run("running", steps=[{"id": str(number), "steps": [{}]} for number in range(20_000)]),
    "deep steps": '{"status":"running","steps":[{"id":"s",' + '"steps":[{' * 300 + '"a":1' + "}]" * 300 + "}]}",
    "quotes": '"\\"' * 100_000,
    "backslashes": '{"interrupts":"' + "\\" * 200_001,
    "lone surrogates": DEEP % '"\ud800\udc00\ud800"',
    "raw NUL": DEEP % '"\0"',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_payloads_are_survived(data: str) -> None:
    kinds = ("STATE_SNAPSHOT", READ_BACK, "RUN_STARTED", "RUN_FINISHED", "message")
    survive([(kind, data) for kind in kinds])
    survive([("STATE_SNAPSHOT", snapshot(data).data), (READ_BACK, data)])
    middesk.parts(data)
    middesk.read_refusal(400, data.encode("utf-8", "surrogatepass"))


def odd(value: Any) -> str:
    return json.dumps(value)


ODD = {
    "null interrupts": run("interrupted", interrupts=None),
    "interrupts by id": run("interrupted", interrupts={"int-9": {}}),
    "empty": "{}",
    "only steps": odd({"steps": []}),
    "only artifacts": odd({"artifacts": []}),
    "null status": odd({"status": None, "interrupts": []}),
    "steps by id": run("running", steps={"s": {}}),
    "null steps": run("running", steps=[None, 5, "x", []]),
    "identifiers only, as a webhook may be cut down": odd({"object": "run", "id": RUN_ID, "status": "interrupted"}),
    "a list envelope": odd({"object": "list", "data": [json.loads(run("running"))]}),
    "errors": odd({"errors": [{"message": "not found"}]}),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_odd_payloads_are_survived_and_end_nothing(data: str) -> None:
    facts = survive([("STATE_SNAPSHOT", snapshot(data).data), (READ_BACK, data), ("STATE_SNAPSHOT", data)])
    assert not any(isinstance(fact, Ended | Gone | Asked) for fact in facts)
