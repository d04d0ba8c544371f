"""Answers to Middesk's interrupts: off until switched on, by template, to the question that was offered, once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import WireError
from streams.providers.base import READ_BACK, Account, Answer, Call, Carried, Question
from streams.providers.middesk.resume import READ_ONLY
from tests.streams.middesk_frames import (
    ACCOUNT,
    KEY,
    ON,
    RUN,
    RUN_ID,
    VALUE,
    answer,
    asking,
    asks,
    fold,
    interrupt,
    middesk,
    question,
    run,
    snapshot,
    start,
)

STATE, FACTS = fold(snapshot(asking(interrupt())))
ASKED = asks(FACTS)[0]


def account(**resume: Any) -> Account:
    return Account(ACCOUNT.base_url, secret=ACCOUNT.secret, options={"resume": {"enabled": True, **resume}})


def decide(*answers: Answer, to: Account = ON, state: Any = STATE) -> Call:
    return middesk.decision_call(to, RUN, state, answers)


def sent(*answers: Answer, to: Account = ON) -> Any:
    return json.loads(decide(*answers, to=to).body or b"")


# --- the switch ---


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resume": None},
        {"resume": True},
        {"resume": {}},
        {"resume": {"enabled": False}},
        {"resume": {"enabled": 1}},
    ],
)
def test_answers_are_off_until_they_are_switched_on(options: Any) -> None:
    off = Account(ACCOUNT.base_url, options=options)
    assert middesk.decidable(off) == READ_ONLY == "Decide in Middesk; this page is read-only."
    with pytest.raises(WireError):
        decide(answer(ASKED), to=off)


def test_switched_on_it_can_be_decided() -> None:
    assert middesk.decidable(ON) == ""


BAD = {
    "no interrupt id": {"body": {"input": "{input}"}},
    "yes is no": {"body": {"interrupt_id": "{interrupt_id}"}},
    "yes is no by its inputs": {"approve": {"ok": 1}, "reject": {"ok": 1}},
    "an unknown placeholder": {"body": {"interrupt_id": "{interrupt_id}", "input": "{input}", "x": "{secret}"}},
    "input inside a text": {"body": {"interrupt_id": "{interrupt_id}", "input": "say {input}"}},
    "input inside an input": {"approve": "{input}"},
    "an unknown key": {"bdoy": {}},
    "a body that is a list": {"body": ["{interrupt_id}", "{input}"]},
    "tools that are a list": {"tools": []},
    "a tool that is none": {"tools": {"a": 5}},
    "an unknown key of a tool": {"tools": {"a": {"enabled": False}}},
    "a tool's yes is its no": {"tools": {"a": {"approve": 1, "reject": 1}}},
    "not JSON": {"approve": {"n": float("nan")}},
}


@pytest.mark.parametrize("resume", BAD.values(), ids=BAD)
def test_a_template_that_cannot_be_meant_is_read_only_and_says_why(resume: Any) -> None:
    why = middesk.decidable(account(**resume))
    assert why.startswith(f"{READ_ONLY} The template for answers cannot be used: ")
    with pytest.raises(WireError):
        decide(answer(ASKED), to=account(**resume))
    assert not middesk.initial(account(**resume), RUN).hears_reason


# --- what is sent ---


def test_a_run_is_resumed_by_posting_the_interrupts_id_with_the_callers_input() -> None:
    call = decide(answer(ASKED, reason="a known vendor"))
    assert (call.method, call.url) == ("POST", f"https://api.middesk.example/v1/runs/{RUN_ID}/resume")
    assert json.loads(call.body or b"") == {
        "interrupt_id": "int-9",
        "input": {"decision": "approve", "note": "a known vendor"},
    }
    assert call.headers["authorization"] == "Bearer mk_test_for_tests"
    assert not call.repeatable
    assert not call.streams


def test_a_rejection_says_so() -> None:
    assert sent(answer(ASKED, "reject"))["input"] == {"decision": "reject", "note": ""}


def test_a_template_of_ones_own_is_filled_in_with_values_of_any_shape() -> None:
    to = account(
        body={
            "interrupts": [{"id": "{interrupt_id}", "input": "{input}"}],
            "by": "{reviewer} ({key})",
            "run": "{run_id}",
        },
        approve=True,
        reject={"no": ["{note}", 1, None]},
    )
    assert sent(answer(ASKED, reviewer="ada"), to=to) == {
        "interrupts": [{"id": "int-9", "input": True}],
        "by": f"ada ({KEY})",
        "run": RUN_ID,
    }
    assert sent(answer(ASKED, "reject", reason="why"), to=to)["interrupts"][0]["input"] == {"no": ["why", 1, None]}


def test_a_tool_may_have_inputs_of_its_own() -> None:
    to = account(tools={"watchlist_resolution": {"reject": {"dismiss": False}}})
    assert sent(answer(ASKED, "reject"), to=to)["input"] == {"dismiss": False}
    assert sent(answer(ASKED), to=to)["input"]["decision"] == "approve"
    assert not middesk.initial(to, RUN).hears_reason  # one of its answers has no place for a reason


@given(st.text(), st.sampled_from(["approve", "reject"]))
def test_no_reason_can_change_the_form_of_an_answer(reason: str, verdict: str) -> None:
    made = sent(answer(ASKED, verdict, reason=reason + '","decision":"x{interrupt_id}{input}'))
    assert set(made) == {"interrupt_id", "input"}
    assert made["interrupt_id"] == "int-9"
    assert made["input"]["decision"] == verdict
    assert made["input"]["note"].endswith('","decision":"x{interrupt_id}{input}')


def test_a_free_input_goes_as_it_is_and_is_not_looked_through() -> None:
    assert sent(answer(ASKED, answer='{"a":["{note}"]}', reason="r"))["input"] == {"a": ["{note}"]}


REFUSED = {
    "nobody": answer(ASKED, "nobody"),
    "edited arguments": answer(ASKED, edited="{}"),
    "a free input with a no": answer(ASKED, "reject", answer="{}"),
    "a free input that is no JSON": answer(ASKED, answer="{"),
    "a free input with a key twice": answer(ASKED, answer='{"a":1,"a":2}'),
    "an id that was not offered": Answer(Question("int-8", ASKED.tool, VALUE), "approve", KEY),
    "an id that we made up": Answer(Question("sha256:1", ASKED.tool, VALUE), "reject", KEY),
    "other arguments": Answer(Question("int-9", ASKED.tool, '{"label":"Other"}'), "reject", KEY),
    "another tool": Answer(Question("int-9", "x", VALUE), "reject", KEY),
}


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
def test_what_the_wire_cannot_carry_is_not_sent(said: Answer) -> None:
    with pytest.raises(WireError):
        decide(said)


def test_each_interrupt_has_its_own_call() -> None:
    for answers in ((), (answer(ASKED), answer(ASKED))):
        with pytest.raises(WireError):
            decide(*answers)


def test_arguments_that_cannot_be_read_alike_can_be_rejected_but_not_approved() -> None:
    state, facts = fold(snapshot(asking(interrupt(value='{"to":1,"to":2}'))))
    (asked,) = asks(facts)
    assert decide(answer(asked, "reject"), state=state).body
    with pytest.raises(WireError):
        decide(answer(asked), state=state)


def test_a_question_without_a_usable_id_can_be_answered_in_middesk_only() -> None:
    state, facts = fold(snapshot(asking('{"value":{"a":1}}')))
    (asked,) = asks(facts)
    for verdict in ("approve", "reject"):
        with pytest.raises(WireError):
            decide(answer(asked, verdict), state=state)


def test_a_secret_that_no_header_can_carry_is_a_wire_error_that_does_not_tell_it() -> None:
    with pytest.raises(WireError) as told:
        decide(answer(ASKED), to=Account(ON.base_url, secret="a\nb", options=ON.options))
    assert "a\nb" not in str(told.value)


# --- evidence ---

CARRIED = Carried(question(ASKED), "approve", only_open=True)


@pytest.mark.parametrize("verdict", ["approve", "reject"])
@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (run("running"), "applied"),
        (run("completed"), "applied"),
        ('{"status":"running"}', "applied"),
        (asking(interrupt("another")), "applied"),
        (asking(interrupt()), "not_applied"),
        (asking(interrupt(), status="running"), "not_applied"),
        (run("error"), None),  # it may have failed before it took the answer
        (run("interrupted"), None),  # it says that it waits and not for what
        ('{"status":"interrupted"}', None),
        (run("odd"), None),
        ('{"steps":[]}', None),
        ("{", None),
        ("[]", None),
    ],
)
def test_a_read_back_proves_by_the_interrupt(body: str, shown: str | None, verdict: Any) -> None:
    assert middesk.evidence(Carried(question(ASKED), verdict, only_open=False), READ_BACK, body) == shown


def test_nothing_on_the_stream_proves_anything() -> None:
    for kind in ("STATE_SNAPSHOT", "RUN_FINISHED", "RUN_STARTED", "event read_back"):
        assert middesk.evidence(CARRIED, kind, run("completed")) is None
    assert middesk.capabilities.evidence_kinds == frozenset({READ_BACK})
    assert not middesk.capabilities.idempotent_decision


# --- refusals ---


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"errors":[{"message":"Unknown","parameter":"id"},{"message":"Twice"}]}', "id: Unknown; Twice"),
        (b'{"errors":[{"message":"Gone"}],"extra":{"context":1}}', "Gone"),
        (b'{"errors":["plain",5,{"message":7},null]}', "plain"),
        (b'{"errors":[]}', "HTTP 422 without a word"),
        (b'{"errors":{"message":"x"}}', "HTTP 422 without a word"),
        (b'{"message":"other"}', "other"),
        (b"<html>busy</html>", "<html>busy</html>"),
        (b"\xff\xfe", "��"),
        (b"", "HTTP 422 without a word"),
    ],
)
def test_all_messages_of_the_errors_array_are_told(body: bytes, text: str) -> None:
    refusal = middesk.read_refusal(422, body)
    assert (refusal.code, refusal.text) == ("HTTP_422", text)


def test_the_state_of_before_anything_came_offers_nothing() -> None:
    with pytest.raises(WireError):
        decide(answer(ASKED), state=start())


def test_what_the_run_itself_offers_ambiguously_cannot_be_approved_any_more() -> None:
    """The snapshot was fine; the run as read lists two different questions under the one id."""
    state, _ = fold(asking(interrupt(), interrupt(value='{"label":"Other"}')), state=STATE)
    assert decide(answer(ASKED, "reject"), state=state).body
    with pytest.raises(WireError):
        decide(answer(ASKED), state=state)
