"""Real servers' bytes, replayed: pydantic-ai to the end of every case, every tape without a surprise."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from streams.events import Ended, Executed, Fact, Paused, Recognised, Started
from streams.providers.base import Account, Answer, Carried
from tests.streams import tapes
from tests.streams.agui_frames import RUN, agui, answer, asks, broken, end, question

ACCOUNT = Account("http://127.0.0.1/")
BY_ID = {"answer_by_id": True}
UNKNOWN = ("truncated", "unknown")


def first(name: str) -> str:
    """The run in which the thread of an exchange began."""
    thread = tapes.posted(name)["threadId"]
    family = name.split("/")[0]
    (found,) = [
        other
        for other in tapes.ALL
        if other.startswith(f"{family}/") and "run1" in other and tapes.posted(other)["threadId"] == thread
    ]
    return found


def our_answer(name: str, *verdicts: Callable[[Any], Answer], account: Account = ACCOUNT) -> dict[str, Any]:
    """What we send where the recording client sent the request of an exchange."""
    state, facts = tapes.play(first(name), account=account)
    state = agui.load(agui.dump(state))
    answers = [make(asked) for make, asked in zip(verdicts, asks(facts), strict=True)]
    call = agui.decision_call(account, RUN, state, answers, new_run_id=tapes.posted(name)["runId"])
    body: dict[str, Any] = json.loads(call.body or b"")
    assert body.pop("protocolVersion") == "1.0"
    return body


def approve(asked: Any) -> Answer:
    return answer(asked)


def reject(asked: Any) -> Answer:
    return answer(asked, "reject")


EDITED = '{"to": "boss@example.com", "subject": "EDITED subject", "body": "edited by a human"}'
WHOLE = [
    ("02-approve", [approve]),
    ("05r-reject-with-reason", [lambda asked: answer(asked, "reject", reason="Not this customer")]),
    ("18-full-resume-approve-and-reject", [approve, reject]),
    ("18c-approve-both-at-once", [approve, approve]),
]
ENTRIES = [
    ("05-reject", reject),
    ("07-cancelled", lambda asked: answer(asked, "nobody")),
    ("09-approve-with-edited-args", lambda asked: answer(asked, edited=EDITED)),
]


@pytest.mark.parametrize(("case", "verdicts"), WHOLE, ids=[case for case, _ in WHOLE])
def test_our_answer_to_pydantic_ai_is_the_request_that_worked_on_the_wire(case: str, verdicts: list[Any]) -> None:
    name = f"pydantic_ai/{case}"
    assert our_answer(name, *verdicts) == tapes.posted(name)


@pytest.mark.parametrize(("case", "verdict"), ENTRIES, ids=[case for case, _ in ENTRIES])
def test_our_entry_is_the_one_that_worked_on_the_wire(case: str, verdict: Any) -> None:
    """Threads whose first run was not recorded: their entry, given to another thread's question."""
    (ours,) = our_answer("pydantic_ai/02-approve", verdict)["resume"]
    (theirs,) = tapes.posted(f"pydantic_ai/{case}")["resume"]
    assert {**ours, "interruptId": ""} == {**theirs, "interruptId": ""}


@pytest.mark.parametrize("case", ["01-run1-email", "05r-run1-email", "13-run1-email", "19-run1-delete"])
def test_pydantic_ai_asks_with_the_whole_call(case: str) -> None:
    _, facts = tapes.play(f"pydantic_ai/{case}")
    started, recognised, asked, pause = facts
    assert isinstance(started, Started)
    assert recognised == Recognised("pydantic-ai")
    assert pause == Paused(closed=True)
    assert json.loads(asked.arguments)  # type: ignore[union-attr]
    assert (asked.edit, asked.hears_reason, asked.answer, asked.problem) == (True, True, False, "")  # type: ignore[union-attr]


def test_two_gated_calls_are_two_questions_in_their_order() -> None:
    _, facts = tapes.play("pydantic_ai/16-run1-both-tools")
    assert [asked.tool for asked in asks(facts)] == ["send_email", "delete_records"]


@pytest.mark.parametrize(
    "case",
    [
        "00-plain-text-run",
        "02-approve",
        "03-approve-again-duplicate",
        "05-reject",
        "05r-reject-with-reason",
        "07-cancelled",
        "09-approve-with-edited-args",
        "15-then-correct-approve",
        "17-partial-resume-one-of-two",
        "18-full-resume-approve-and-reject",
        "18b-full-resume-at-once",
        "18c-approve-both-at-once",
        "20-new-user-message-while-pending",
    ],
)
def test_pydantic_ai_ends_in_success(case: str) -> None:
    _, facts = tapes.play(f"pydantic_ai/{case}")
    assert facts[-1] == Ended("finished", "success")
    assert not broken(facts)


@pytest.mark.parametrize("case", ["11-unknown-interrupt-id", "14-malformed-payload", "22-resume-on-unknown-thread"])
def test_pydantic_ai_says_that_an_answer_was_not_taken(case: str) -> None:
    _, facts = tapes.play(f"pydantic_ai/{case}")
    assert end(facts).how == "failed"
    assert agui.not_accepted(end(facts).error)


def test_pydantic_ai_refuses_an_invalid_body_in_words() -> None:
    assert (
        "threadId: Input should be a valid string"
        in agui.read_refusal(422, tapes.raw("pydantic_ai/23-invalid-body")).text
    )


@pytest.mark.parametrize(
    ("case", "question_at", "expected"),
    [
        ("02-approve", 0, "applied"),
        ("05-reject", 0, "applied"),
        ("05r-reject-with-reason", 0, "applied"),
        ("09-approve-with-edited-args", 0, "applied"),
        ("11-unknown-interrupt-id", 0, None),
        ("14-malformed-payload", 0, None),
        ("18-full-resume-approve-and-reject", 0, "applied"),
        ("18-full-resume-approve-and-reject", 1, "applied"),
    ],
)
def test_pydantic_ai_proves_what_became_of_an_answer(case: str, question_at: int, expected: str | None) -> None:
    name = f"pydantic_ai/{case}"
    call_ids = [call["id"] for message in tapes.posted(name)["messages"] for call in message.get("toolCalls", [])]
    asked = question(asks(tapes.play("pydantic_ai/01-run1-email")[1])[0])
    asked = type(asked)(f"int-{call_ids[question_at]}", asked.tool, asked.arguments, call_ids[question_at])
    carried = Carried(asked, "approve", only_open=True, answering_run=tapes.posted(name)["runId"])
    proofs = [agui.evidence(carried, agui.kind_of(frame), frame.data) for frame in tapes.frames(name)]
    assert next((proof for proof in proofs if proof), None) == expected
    assert proofs[0] is None  # RUN_STARTED


# --- every server ---


@pytest.mark.parametrize("name", tapes.ALL)
def test_every_tape_folds_to_an_end_without_a_violation_and_survives_any_checkpoint(name: str) -> None:
    state, facts = agui.initial(ACCOUNT, RUN, tapes.opening(name)), list[Fact]()
    for frame in tapes.frames(name):
        assert all(line.what for line in agui.lines(agui.kind_of(frame), frame.data))
        state, told = agui.step(agui.load(agui.dump(state)), frame)
        facts += told
    facts += agui.at_eof(state)
    whole, same = tapes.play(name)
    assert facts == same
    assert agui.dump(state) == agui.dump(whole)
    assert isinstance(facts[-1], Ended | Paused)
    assert "protocol_violation" not in [fact.outcome for fact in facts if isinstance(fact, Ended)]


@pytest.mark.parametrize("name", [name for name in tapes.ALL if "run1" in name or "keepalive" in name])
def test_no_recorded_pause_is_ever_read_as_success(name: str) -> None:
    _, facts = tapes.play(name)
    assert asks(facts)
    if isinstance(facts[-1], Ended):
        assert (facts[-1].how, facts[-1].outcome) == UNKNOWN
        assert all(asked.problem for asked in asks(facts))
    else:
        assert facts[-1] == Paused(closed=True)


def test_one_pause_of_agent_framework_is_one_question_whatever_else_signals_it() -> None:
    _, facts = tapes.play("agent_framework/01-run1-email")
    (asked,) = asks(facts)
    assert (asked.tool, asked.edit, asked.hears_reason, asked.problem) == ("send_email", True, False, "")


def test_what_agent_framework_ends_twice_after_a_resume_is_only_marked() -> None:
    _, facts = tapes.play("agent_framework/18-full-resume-approve-and-reject")
    assert len(broken(facts)) == 1
    assert [asked.tool for asked in asks(facts)] == ["delete_records"]


def test_a_langgraph_node_that_has_a_schema_is_asked_with_the_restated_call() -> None:
    _, facts = tapes.play("langgraph/01-run1-email")
    (asked,) = asks(facts)
    assert json.loads(asked.arguments)["to"] == "ana@example.com"
    assert asked.problem == ""


# --- agent-framework and langgraph: our answers are those that were taken on the wire ---


def as_sent(body: dict[str, Any]) -> dict[str, Any]:
    """A recorded input without what is not there: old clients write null."""
    return {key: value for key, value in body.items() if value is not None}


TAKEN = [
    ("agent_framework/02-approve", [approve]),
    ("agent_framework/18c-approve-both-at-once", [approve]),  # both calls are one question
    ("langgraph/02-approve", [approve]),
    ("langgraph/hitl-02-approve", [approve]),
    ("langgraph/percall-02-approve", [approve]),
    ("langgraph/legacy-02-approve", [approve]),
]


@pytest.mark.parametrize(("name", "verdicts"), TAKEN, ids=[name for name, _ in TAKEN])
def test_our_answer_is_the_request_that_worked_on_the_wire(name: str, verdicts: list[Any]) -> None:
    ours, theirs = our_answer(name, *verdicts), as_sent(tapes.posted(name))
    if name.startswith("agent_framework/"):  # it took the answer without the conversation, and its model then had none
        assert [one["role"] for one in ours["messages"]][:2] == ["user", "assistant"]
        ours["messages"] = []
    assert ours == theirs


def edit(asked: Any) -> Answer:
    return answer(asked, edited=EDITED)


@pytest.mark.parametrize("prefix", ["agent_framework/", "langgraph/", "langgraph/hitl-", "langgraph/percall-"])
@pytest.mark.parametrize(("case", "verdict"), [("05-reject", reject), ("09-approve-with-edited-args", edit)])
def test_our_other_entries_are_those_that_worked_on_the_wire(prefix: str, case: str, verdict: Any) -> None:
    """Threads whose first run was not recorded: their entry, given to another thread's question."""
    (ours,) = our_answer(f"{prefix}02-approve", verdict)["resume"]
    (theirs,) = tapes.posted(f"{prefix}{case}")["resume"]
    assert {**ours, "interruptId": ""} == {**theirs, "interruptId": ""}


@pytest.mark.parametrize(("case", "verdict"), [("05-reject", reject), ("09-approve-with-edited-args", edit)])
def test_our_commands_are_those_that_worked_on_the_wire(case: str, verdict: Any) -> None:
    ours = our_answer("langgraph/legacy-02-approve", verdict)["forwardedProps"]
    assert ours == tapes.posted(f"langgraph/legacy-{case}")["forwardedProps"]


@pytest.mark.parametrize("prefix", ["", "hitl-", "percall-", "legacy-"])
def test_an_account_may_have_langgraph_answered_by_the_questions_id(prefix: str) -> None:
    """The same payload, in the one form in which its server looks at the id."""
    name = f"langgraph/{prefix}02-approve"
    plain, by_id = our_answer(name, approve), our_answer(name, approve, account=replace(ACCOUNT, options=BY_ID))
    payload = plain["resume"][0]["payload"] if "resume" in plain else plain["forwardedProps"]["command"]["resume"]
    ((given, said),) = by_id["forwardedProps"]["command"]["resume"].items()
    assert (said, len(given), "resume" in by_id) == (payload, 32, False)
    assert given == plain.get("resume", [{"interruptId": given}])[0]["interruptId"]


def test_agent_framework_is_sent_no_reason_since_it_refuses_the_answer_for_one() -> None:
    name = "agent_framework/05r-reject-with-reason"
    (ours,) = our_answer(name, lambda asked: answer(asked, "reject", reason="Not this customer"))["resume"]
    assert ours["payload"] == {"approved": False}
    _, facts = tapes.play(name)
    assert agui.not_accepted(end(facts).error)


@pytest.mark.parametrize(
    "name", ["hitl-01-run1-email", "percall-01-run1-email", "legacy-01-run1-email", "01-run1-email"]
)
def test_langgraph_asks_with_the_whole_call(name: str) -> None:
    state, facts = tapes.play(f"langgraph/{name}")
    (asked,) = asks(facts)
    assert (asked.tool, asked.problem, asked.edit) == ("send_email", "", True)
    assert set(json.loads(asked.arguments)) == {"to", "subject", "body"}
    assert asked.tool_call_id.startswith("call_")
    assert state.asks[0].id
    assert Recognised("langgraph") in facts


def test_two_calls_are_asked_by_langgraph_as_its_graph_does() -> None:
    """Its middleware in one interrupt or in two, a node one after the other."""
    for name, tools in {
        "hitl-16-run1-both-tools": ["send_email", "delete_records"],
        "percall-16-run1-both-tools": ["send_email", "delete_records"],
        "16-run1-both-tools": ["send_email"],
        "legacy-16-run1-both-tools": ["send_email"],
    }.items():
        _, facts = tapes.play(f"langgraph/{name}")
        assert [(asked.tool, asked.problem) for asked in asks(facts)] == [(tool, "") for tool in tools]
        # What may be changed is said for each tool by itself.
        assert [asked.edit for asked in asks(facts)] == [True, False][: len(tools)]


def test_two_calls_of_langgraph_are_answered_as_each_way_of_asking_wants() -> None:
    state, facts = tapes.play("langgraph/hitl-16-run1-both-tools")
    answers = [approve(asks(facts)[0]), reject(asks(facts)[1])]
    (entry,) = json.loads(agui.decision_call(ACCOUNT, RUN, state, answers, new_run_id="n").body or b"")["resume"]
    assert entry["payload"] == {"decisions": [{"type": "approve"}, {"type": "reject"}]}
    state, facts = tapes.play("langgraph/percall-16-run1-both-tools")
    answers = [approve(asks(facts)[0]), reject(asks(facts)[1])]
    body = json.loads(agui.decision_call(ACCOUNT, RUN, state, answers, new_run_id="n").body or b"")
    ids = [ask.id for ask in state.asks]
    assert body["forwardedProps"]["command"]["resume"] == {ids[0]: {"type": "approve"}, ids[1]: {"type": "reject"}}
    assert "resume" not in body


LANGGRAPH = ["", "hitl-", "percall-", "legacy-"]
PROOF = [
    *((f"langgraph/{prefix}{case}", "applied") for prefix in LANGGRAPH for case in ("02-approve", "05-reject")),
    *((f"langgraph/{prefix}09-approve-with-edited-args", "applied") for prefix in LANGGRAPH),
    ("langgraph/hitl-07-cancelled", None),
    ("langgraph/percall-14-malformed-payload", None),
    ("langgraph/22-resume-on-unknown-thread", None),  # it ends well, and knows nothing of the call
    ("agent_framework/02-approve", "applied"),
    ("agent_framework/05-reject", "applied"),
    ("agent_framework/09-approve-with-edited-args", "applied"),
    ("agent_framework/05r-reject-with-reason", None),
    ("agent_framework/11-unknown-interrupt-id", None),
]


@pytest.mark.parametrize(("name", "expected"), PROOF, ids=[name for name, _ in PROOF])
def test_what_real_servers_did_with_an_answer_is_read_from_their_bytes(name: str, expected: str | None) -> None:
    posted = tapes.posted(name)
    entry = (posted.get("resume") or [{"interruptId": "0" * 32}])[0]
    told = [json.loads(frame.data) for frame in tapes.frames(name)]
    call_ids = [
        one["toolCallId"]
        for event in told
        for one in [event, *event.get("messages", [])]
        if one.get("role") == "tool" and "toolCallId" in one
    ]
    given = entry["interruptId"] if len(entry["interruptId"]) >= 32 else "0" * 32
    asked = type(QUESTION)(given, "send_email", "{}", (call_ids or ["call_1"])[0])
    carried = Carried(asked, "approve", only_open=True, answering_run=posted["runId"])
    proofs = [agui.evidence(carried, agui.kind_of(frame), frame.data) for frame in tapes.frames(name)]
    assert next((proof for proof in proofs if proof), None) == expected


QUESTION = question(asks(tapes.play("langgraph/01-run1-email")[1])[0])


@pytest.mark.parametrize("prefix", ["hitl-", "percall-"])
@pytest.mark.parametrize(
    ("case", "to"), [("02-approve", "ana@example.com"), ("09-approve-with-edited-args", "boss@example.com")]
)
def test_langgraph_tells_with_which_arguments_a_call_ran(prefix: str, case: str, to: str) -> None:
    _, facts = tapes.play(f"langgraph/{prefix}{case}")
    (ran,) = [fact for fact in facts if isinstance(fact, Executed)]
    assert (ran.tool, json.loads(ran.arguments)["to"]) == ("send_email", to)


def test_a_question_that_langgraph_asks_again_has_its_name_again() -> None:
    """Its defaults were sent an empty answer: it asks once more."""
    _, facts = tapes.play("langgraph/legacy-07-cancelled")
    (again,) = asks(facts)
    assert (again.tool, again.problem, len(again.call_id)) == ("send_email", "", 32)
    assert facts[-1] == Paused(closed=True)


def test_a_call_that_agent_framework_asks_again_has_its_name_again() -> None:
    """One yes and one no never completes there: only the no is asked again, for ever."""
    _, facts = tapes.play("agent_framework/18-full-resume-approve-and-reject")
    (again,) = asks(facts)
    assert (
        again.call_id == tapes.posted("agent_framework/18-full-resume-approve-and-reject")["resume"][1]["interruptId"]
    )
    assert (again.problem, json.loads(again.arguments)["table"]) == ("", "customers")
