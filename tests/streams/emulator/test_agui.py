"""AG-UI 1.0's wire (contract: docs.ag-ui.com/spec/1.0, read 2026-11)."""

import hashlib
import json
from typing import Any

import pytest

from tests.emulator import Emulator
from tests.streams.emulator.clients import AgUiClient, Thread, kinds, row


def resume_of(thread: Thread, **fields: Any) -> list[dict[str, Any]]:
    return [{"interruptId": i["id"], "status": "resolved", **fields} for i in thread.interrupts]


def test_a_run_says_its_version_and_ends_in_an_interrupt_for_its_call(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    first, last = thread.events[0], thread.events[-1]
    ids = {"threadId": thread.id, "runId": thread.run}
    assert first == {"type": "RUN_STARTED", **ids, "protocolVersion": "1.0"}
    assert last["type"] == "RUN_FINISHED"
    assert {key: last[key] for key in ids} == ids
    (interrupt,) = thread.interrupts
    assert interrupt["reason"] == "tool_call"
    assert interrupt["responseSchema"]["properties"].keys() == {"approved", "editedArgs", "reason"}
    assert "TOOL_CALL_RESULT" not in [
        e["type"] for e in thread.events if e.get("toolCallId") == interrupt["toolCallId"]
    ]


def test_the_hash_is_that_of_the_joined_deltas(agui: AgUiClient) -> None:
    thread = agui.start("odd-characters")
    (interrupt,) = thread.interrupts
    text = thread.arguments(interrupt["toolCallId"])
    assert json.loads(text)[""] == "an argument without a name"
    effect = row(agui.emulator.effects(), run=thread.run)
    assert effect["input_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert effect["approval"] == interrupt["id"]


def test_an_approval_runs_the_tool_and_shows_its_result_for_the_old_call(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    asking, call = thread.run, thread.interrupts[0]["toolCallId"]
    agui.answer(thread, {"approved": True})
    results = [e for e in thread.events if e["type"] == "TOOL_CALL_RESULT"]
    assert [result["toolCallId"] for result in results] == [call]
    assert results[0]["content"].startswith("Sent to")
    assert "TOOL_CALL_START" not in kinds(thread.events)
    assert thread.events[-1]["outcome"] == {"type": "success"}
    effect = row(agui.emulator.effects(), run=asking)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (1, 0, 1, 0)
    assert not agui.emulator.pending(thread=thread.id)


def test_a_refusal_skips_the_tool_and_the_run_goes_on(agui: AgUiClient) -> None:
    thread = agui.start("sql-migration")
    asking = thread.run
    agui.answer(thread, {"approved": False, "reason": "not on a Friday"})
    (result,) = [e for e in thread.events if e["type"] == "TOOL_CALL_RESULT"]
    assert "not on a Friday" in result["content"]
    assert thread.events[-1]["outcome"] == {"type": "success"}
    effect = row(agui.emulator.effects(), run=asking)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (0, 1, 0, 1)


def test_edited_arguments_replace_the_proposed_ones(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    asking = thread.run
    edited = {"to": "mei@harbour.example", "subject": "Kürzer", "body": "short"}
    agui.answer(thread, {"approved": True, "editedArgs": edited})
    assert "Sent to mei@harbour.example: Kürzer" in [e.get("content") for e in thread.events]
    canonical = json.dumps(edited, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    effect = row(agui.emulator.effects(), run=asking)
    assert effect["executed_sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert effect["executed_sha256"] != effect["input_sha256"]


def test_both_interrupts_of_a_batch_are_answered_together(agui: AgUiClient) -> None:
    thread = agui.start("account-deletion")
    asking = thread.run
    assert len(thread.interrupts) == 2
    calls = [i["toolCallId"] for i in thread.interrupts]
    agui.answer(thread, {"approved": True}, {"approved": False})
    assert [e["toolCallId"] for e in thread.events if e["type"] == "TOOL_CALL_RESULT"] == calls
    assert [(e["executed"], e["skipped"]) for e in agui.emulator.effects(run=asking)] == [(1, 0), (0, 1)]
    assert thread.state["deleted"] == ["account"]


def test_half_an_answer_runs_nothing_and_the_whole_one_still_counts(agui: AgUiClient) -> None:
    thread = agui.start("account-deletion")
    asking, interrupts = thread, thread.interrupts
    resume = resume_of(thread, payload={"approved": True})
    refused = Thread(id=thread.id, messages=thread.messages)
    agui.post(refused, resume=resume[:1])
    assert kinds(refused.events) == ["RUN_STARTED", "RUN_ERROR"]
    assert refused.events[-1]["code"] == "INCOMPLETE_RESUME"
    assert {p["approval"] for p in agui.emulator.pending(thread=thread.id)} == {i["id"] for i in interrupts}
    agui.post(asking, resume=resume)
    assert kinds(asking.events).count("TOOL_CALL_RESULT") == 2


@pytest.mark.parametrize(
    ("scenario", "payload"),
    [
        ("outbound-email", {"approved": "true"}),
        ("outbound-email", {"approved": 1}),
        ("outbound-email", {"approved": True, "editedArgs": "text"}),
        ("outbound-email", {"approved": True, "reason": 5}),
        ("outbound-email", {}),
        ("outbound-email", True),
        ("outbound-email", None),
        ("sql-migration", {"approved": True, "editedArgs": {}}),
        ("sql-migration", {"approved": True, "note": "x"}),
        ("refund", {"approved": "yes"}),
        ("refund", {"approved": True, "editedArgs": {}}),
    ],
)
def test_a_payload_that_does_not_match_runs_nothing_and_stays_open(
    agui: AgUiClient, scenario: str, payload: Any
) -> None:
    thread = agui.start(scenario)
    asking = thread.run
    resume = resume_of(thread, payload=payload)
    agui.post(thread, resume=resume)
    assert thread.events[-1]["code"] == "INVALID_PAYLOAD"
    assert row(agui.emulator.effects(), run=asking)["executed"] == 0
    resume[0]["payload"] = {"approved": True}
    agui.post(thread, resume=resume)
    assert row(agui.emulator.effects(), run=asking)["executed"] == 1


@pytest.mark.parametrize(("payload", "executed"), [(True, 1), (False, 0), ({"approved": True}, 1)])
def test_without_a_schema_a_confirmation_takes_a_boolean_or_the_usual_object(
    agui: AgUiClient, payload: Any, executed: int
) -> None:
    thread = agui.start("refund")
    asking = thread.run
    assert "responseSchema" not in thread.interrupts[0]
    assert thread.interrupts[0]["reason"] == "confirmation"
    agui.answer(thread, payload)
    assert row(agui.emulator.effects(), run=asking)["executed"] == executed


def test_a_repeated_answer_is_an_error_and_runs_nothing_again(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    asking = thread.run
    resume = resume_of(thread, payload={"approved": True})
    agui.post(thread, resume=resume)
    agui.post(thread, resume=resume)
    assert thread.events[-1]["code"] == "ALREADY_RESUMED"
    effect = row(agui.emulator.effects(), run=asking)
    assert (effect["approve"], effect["executed"]) == (2, 1)


def test_an_unknown_interrupt_is_an_error(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    unknown = [{"interruptId": "int-none", "status": "resolved", "payload": {"approved": True}}]
    agui.post(thread, resume=unknown)
    assert thread.events[-1]["code"] == "UNKNOWN_INTERRUPT"
    stranger = agui.post(Thread(), resume=unknown)
    assert stranger.events[-1]["code"] == "UNKNOWN_INTERRUPT"


def test_cancelled_means_that_nobody_answered(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    asking = thread.run
    resume = [{"interruptId": thread.interrupts[0]["id"], "status": "cancelled"}]
    agui.post(thread, resume=resume)
    assert thread.events[-1]["outcome"] == {"type": "success"}
    effect = row(agui.emulator.effects(), run=asking)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (0, 0, 0, 1)
    assert effect["cancelled"] == 1


def test_an_expired_interrupt_can_only_be_cancelled(agui: AgUiClient) -> None:
    thread = agui.start("access-grant fault:expires=0")
    assert thread.interrupts[0]["expiresAt"].endswith("Z")
    interrupt = thread.interrupts[0]["id"]
    agui.answer(thread, {"approved": True})
    assert thread.events[-1]["code"] == "INTERRUPT_EXPIRED"
    agui.post(thread, resume=[{"interruptId": interrupt, "status": "cancelled"}])
    assert thread.events[-1]["outcome"] == {"type": "success"}


def test_a_new_message_while_an_answer_is_awaited_is_an_error(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email")
    agui.start("never mind", thread)
    assert thread.events[-1]["code"] == "RESUME_REQUIRED"
    assert agui.emulator.pending(thread=thread.id)


def test_a_finished_thread_takes_a_new_task(agui: AgUiClient) -> None:
    thread = agui.start("status-summary")
    agui.start("outbound-email", thread)
    assert len(thread.interrupts) == 1


def test_a_run_id_is_never_used_twice(agui: AgUiClient) -> None:
    thread = agui.start("status-summary")
    agui.post(thread, runId=thread.run)
    assert thread.events[-1]["code"] == "RUN_ID_REUSED"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"threadId": 5}',
        b'{"threadId":"t","runId":"r"}',
        b'{"threadId":"t","runId":"r","messages":[],"resume":{}}',
        b'{"threadId":"t","runId":"r","messages":[],"resume":[{"interruptId":"i","status":"approved"}]}',
        b'{"threadId":"t","runId":"r","messages":[],"resume":[{"status":"resolved"}]}',
    ],
)
def test_a_body_that_is_no_input_is_422_before_any_run(agui: AgUiClient, body: bytes) -> None:
    answer = agui.http.post(agui.emulator.agent, content=body)
    assert answer.status_code == 422
    assert isinstance(answer.json(), list)


def test_other_paths_and_methods_are_refused(agui: AgUiClient) -> None:
    assert agui.http.get(agui.emulator.agent).status_code == 405
    assert agui.http.post(f"{agui.emulator.agui}/other", json={}).status_code == 404


def test_a_client_that_leaves_before_the_end_leaves_nothing_to_answer(shared: Emulator) -> None:
    """The run is over for everybody: a broken stream cannot be re-entered."""
    with AgUiClient(shared) as client:
        thread = Thread()
        thread.messages.append({"id": "m", "role": "user", "content": "outbound-email fault:stall=3"})
        for event in client.follow(thread):
            if event["type"] == "TEXT_MESSAGE_CONTENT":
                break
    with AgUiClient(shared) as client:
        answer = client.start("outbound-email", Thread(id=thread.id))
        assert len(answer.interrupts) == 1
    assert row(shared.runs(), run=thread.run)["status"] in ("dropped", "running")
