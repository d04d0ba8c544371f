"""Each framework's pause, answered: recognise, approve, refuse, edit, together, proof, asked again, late error."""

import json
from typing import Any

import pytest

from streams.errors import WireError
from streams.events import Ended, Paused, Recognised
from streams.providers.base import Account, Answer
from streams.sse import Frame
from tests.streams.agui_frames import (
    RUN,
    agui,
    answer,
    asks,
    begin,
    body_of,
    end,
    ev,
    finished,
    interrupt,
    question,
    started,
)
from tests.streams.dialect_cases import (
    ADK_ERROR,
    ALL,
    APPROVED_ONLY,
    ARGS,
    EDITED,
    URL,
    Case,
    account,
    after,
    fold,
    mail,
    pause,
    proofs,
    send,
    sent,
)

# --- recognise ---


@ALL
def test_a_pause_is_one_question_with_the_whole_call(case: Case) -> None:
    state, facts, asked = pause(case)
    assert facts[-1] == Paused(closed=True)
    assert json.loads(asked.arguments) == ARGS
    assert (asked.call_id, asked.problem, asked.together) == (case.key, "", True)
    assert asked.tool in ("send_email", "propose", "human_approval")
    assert len(state.asks) == 1


@ALL
def test_the_framework_is_told_unless_the_account_names_it(case: Case) -> None:
    _, facts, asked = pause(case)
    assert [fact.dialect for fact in facts if isinstance(fact, Recognised)] == ([case.name] if case.name else [])
    again = Case(**{**case.__dict__, "pinned": case.name}) if case.name else case
    _, facts, same = pause(again)
    assert not [fact for fact in facts if isinstance(fact, Recognised)]
    assert same == asked


@ALL
def test_what_was_not_tried_with_a_real_server_says_so(case: Case) -> None:
    _, _, asked = pause(case)
    assert ("has not been tried" in asked.limits or "unverified" in asked.limits) == (
        not case.verified or not (case.name or case.pinned)
    )


@ALL
def test_a_pause_of_another_framework_than_the_accounts_is_shown_and_cannot_be_answered(case: Case) -> None:
    if not case.name:
        return
    other = "strands" if case.name != "strands" else "mastra"
    state, facts = fold(started(), *case.frames, state=begin(account=Account(URL, dialect=other)))
    assert asks(facts)
    assert all(asked.problem.startswith("paused in a form") for asked in asks(facts))
    assert (end(facts).outcome, state.asks) == ("unknown", ())


# --- answer ---


@ALL
def test_an_approval_is_said_as_the_server_understands_it(case: Case) -> None:
    assert sent(case, "approve") == case.approve


@ALL
def test_a_refusal_is_said_as_the_server_understands_it(case: Case) -> None:
    if case.reject is None:
        with pytest.raises(WireError, match="no form for a no"):
            send(case, "reject")
        return
    assert sent(case, "reject") == case.reject


@ALL
def test_a_reason_goes_along_only_where_the_server_hears_it(case: Case) -> None:
    _, _, asked = pause(case)
    assert asked.hears_reason == (case.reasoned is not None)
    if case.reject is not None:
        assert sent(case, "reject", reason="wrong person") == (case.reasoned or case.reject)


@ALL
def test_changes_are_offered_and_sent_only_where_the_server_honours_them(case: Case) -> None:
    _, _, asked = pause(case)
    assert asked.edit == (case.edit is not None)
    if case.edit is None:
        with pytest.raises(WireError):
            send(case, "approve", edited=EDITED)
        return
    assert sent(case, "approve", edited=EDITED) == case.edit


@ALL
def test_that_nobody_answered_is_said_without_running_anything(case: Case) -> None:
    if case.reject is None:
        with pytest.raises(WireError, match="no form for a no"):
            send(case, "nobody")
        return
    said = json.dumps(sent(case, "nobody"))
    if case.nobody is not None:
        assert json.loads(said) == case.nobody
    else:
        assert "true" not in said.replace("mastra_suspend", "").split("interruptEvent")[0].lower()
        assert ("Nobody answered" in said) == (case.reasoned is not None)


@ALL
def test_conversation_and_state_go_back_only_where_the_server_keeps_none(case: Case) -> None:
    state, _, asked = pause(case)
    state = state._replace(value={"n": 1})
    said = {"answer": case.own} if case.own else {}
    call = agui.decision_call(account(case), RUN, state, [answer(asked, **said)], new_run_id="run-2")
    body = body_of(call)
    assert ([one for one in body["messages"] if one.get("toolCallId") != case.key] == []) == case.remembers
    owned = case.name in ("langgraph", "crewai")  # what they show as state is their own record
    assert body["state"] == ({} if owned else {"n": 1})
    assert ("parentRunId" in body, body["threadId"]) == (False, "th-8")


@ALL
def test_an_answer_names_no_id_that_was_not_just_offered(case: Case) -> None:
    state, _, asked = pause(case)
    other = answer(asked)
    other = Answer(question(asked).__class__("other", asked.tool, asked.arguments), "approve", other.key)
    with pytest.raises(WireError, match="exactly the open questions"):
        agui.decision_call(account(case), RUN, state, [other], new_run_id="run-2")


@ALL
def test_a_command_is_not_said_again_with_the_next_answer(case: Case) -> None:
    call = send(case, "approve")
    state = agui.initial(account(case), RUN, call)
    assert state.opening.resumes
    state, facts = fold(started("run-2"), *mail("tc-5"), finished("run-2", outcome=asking()), state=state)
    (again,) = asks(facts)
    body = body_of(agui.decision_call(account(case), RUN, state, [answer(again)], new_run_id="run-3"))
    assert body["forwardedProps"] == {}


def asking(given: str = "ask-2", call_id: str = "tc-5") -> dict[str, Any]:
    schema = interrupt(given, toolCallId=call_id)
    return {"type": "interrupt", "interrupts": [{**schema, "responseSchema": APPROVED_ONLY}]}


# --- what came of it ---


@ALL
def test_what_the_server_does_with_an_approval_proves_it(case: Case) -> None:
    frames = [started("run-2"), *case.taken, finished("run-2")]
    found = proofs(case, *frames)
    assert found[0] is None
    assert "applied" in found
    assert "not_applied" not in found
    assert end(after(case, *case.taken, finished("run-2"))) == Ended("finished", "")


@ALL
def test_the_same_question_asked_again_was_not_answered(case: Case) -> None:
    last = case.frames[-1].data.replace('"run-1"', '"run-2"')
    frames = [*case.frames[:-1], Frame(data=last)]
    again = [frame for frame in frames if frame is not ADK_ERROR]
    _, _, asked = pause(case)
    facts = after(case, *again)
    if case.name == "crewai":  # each of its questions has the thread's id, and it asks only what comes next
        assert [(one.call_id, one.tool) for one in asks(facts)] == [("th-8~run-2", "propose")]
        assert proofs(case, Frame(data=last)) == ["applied"]
        return
    assert [one.call_id for one in asks(facts)] == [asked.call_id]
    assert proofs(case, Frame(data=last)) in ([None], ["not_applied"], ["applied"])
    if '"interrupts"' in last or '"interrupt":' in last:
        assert proofs(case, Frame(data=last)) != ["applied"]


@ALL
def test_an_error_after_the_result_does_not_take_the_proof_back(case: Case) -> None:
    error = ev("RUN_ERROR", message="the model is down")
    facts = after(case, *case.taken, error)
    assert (end(facts).how, agui.not_accepted(end(facts).error)) == ("failed", False)
    if case.taken:
        assert "applied" in proofs(case, *case.taken, error)


@ALL
def test_an_error_after_the_pause_withdraws_the_question(case: Case) -> None:
    state, _, _ = pause(case)
    state, facts = fold(ev("RUN_ERROR", message="late"), state=state)
    assert (end(facts).how, state.asks) == ("failed", ())


@ALL
def test_an_error_before_the_run_began_is_an_end(case: Case) -> None:
    state = agui.initial(account(case), RUN, send(case, "approve"))
    _, facts = fold(ev("RUN_ERROR", message="m", code="UNKNOWN_INTERRUPT"), state=state)
    assert (end(facts).how, agui.not_accepted(end(facts).error)) == ("failed", True)
