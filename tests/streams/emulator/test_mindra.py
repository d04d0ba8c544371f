"""Mindra's wire as documented (contract: docs.mindra.co api-reference, read 2026-11)."""

import hashlib
import json

import httpx
import pytest

from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import MindraClient, named, row, wait_for


def test_a_start_answers_at_once_with_an_execution_and_a_relative_stream(mindra: MindraClient) -> None:
    answer = mindra.http.post(f"{mindra.emulator.mindra}/v1/workflows/refund/run", json={"task": "x", "metadata": {}})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"execution_id", "stream_url"}
    assert body["stream_url"] == f"/api/v1/workflows/execute/{body['execution_id']}/stream"


@pytest.mark.parametrize("join", ["{mindra}{stream_url}", "{url}{stream_url}"])
def test_the_stream_url_works_joined_to_the_base_url_and_resolved_against_it(mindra: MindraClient, join: str) -> None:
    answer = mindra.http.post(f"{mindra.emulator.mindra}/v1/workflows/status-summary/run", json={"task": "x"})
    url = join.format(mindra=mindra.emulator.mindra, url=mindra.emulator.url, **answer.json())
    assert "event: done\n" in mindra.http.get(url).text


def test_an_approved_tool_runs_in_the_same_stream(mindra: MindraClient) -> None:
    run = mindra.start(workflow="outbound-email")
    frames = []
    for frame in mindra.follow(run):
        frames.append(frame)
        if frame.event == "approval_request":
            asked = frame.json()
            assert set(asked) == {"approval_id", "tool_name", "tool_input"}
            assert mindra.decide(run, asked["approval_id"], "approve", "looks right").status_code == 200
    after = frames[named(frames).index("approval_request") + 1 :]
    assert named(after)[:2] == ["tool_executing", "tool_result"]
    assert after[0].json() == {"tool_name": asked["tool_name"], "tool_input": asked["tool_input"]}
    assert frames[-1].event == "done"
    assert frames[-1].json().keys() == {"execution_id", "status", "final_answer"}
    assert frames[-1].json()["status"] == "completed"
    effect = row(mindra.emulator.effects(), run=run)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (1, 0, 1, 0)


def test_a_rejected_tool_is_skipped_and_the_run_goes_on(mindra: MindraClient) -> None:
    run = mindra.start(workflow="shell-command")
    approval = mindra.asked(run)["approval"]
    assert mindra.decide(run, approval, "reject", "wrong folder").status_code == 200
    frames = mindra.stream(run)
    after = frames[named(frames).index("approval_request") + 1 :]
    assert set(named(after)) == {"chunk", "done"}
    assert "wrong folder" in "".join(frame.json()["content"] for frame in after if frame.event == "chunk")
    assert frames[-1].json()["status"] == "completed"
    effect = row(mindra.emulator.effects(), run=run)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (0, 1, 0, 1)


def test_the_hash_is_that_of_the_raw_text_of_the_input_in_the_frame(mindra: MindraClient) -> None:
    run = mindra.start(workflow="odd-characters")
    frame = mindra.stream(run, until="approval_request")[-1]
    start = frame.data.index('"tool_input":') + len('"tool_input":')
    _, end = json.JSONDecoder().raw_decode(frame.data, start)
    text = frame.data[start:end]
    assert hashlib.sha256(text.encode()).hexdigest() == row(mindra.emulator.effects(), run=run)["input_sha256"]


def test_two_requests_can_be_open_at_once_and_are_decided_one_by_one(mindra: MindraClient) -> None:
    run = mindra.start(workflow="account-deletion")
    first, second = wait_for(lambda: p if len(p := mindra.emulator.pending(run=run)) == 2 else [])
    assert mindra.decide(run, second["approval"], "approve").status_code == 200
    assert [p["approval"] for p in mindra.emulator.pending(run=run)] == [first["approval"]]
    assert mindra.decide(run, first["approval"], "reject").status_code == 200
    frames = mindra.stream(run)
    assert [f.json()["tool_name"] for f in frames if f.event == "tool_executing"] == [second["tool"]]


def test_a_run_asks_again_under_a_new_id(mindra: MindraClient) -> None:
    run = mindra.start(workflow="vendor-onboarding")
    first = mindra.asked(run)["approval"]
    mindra.decide(run, first, "approve")
    second = mindra.asked(run)["approval"]
    assert second != first
    mindra.decide(run, second, "approve")
    assert mindra.stream(run)[-1].event == "done"
    assert [e["executed"] for e in mindra.emulator.effects(run=run)] == [1, 1]


def test_a_second_decision_is_refused_and_does_nothing(mindra: MindraClient) -> None:
    run = mindra.start()
    approval = mindra.asked(run)["approval"]
    mindra.decide(run, approval, "approve")
    for verdict in ("approve", "reject"):
        answer = mindra.decide(run, approval, verdict)
        assert answer.status_code == 409
        assert answer.json().keys() == {"error", "code"}
    effect = row(mindra.emulator.effects(), run=run)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (2, 1, 1, 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/workflows/execute/exec_none/stream"),
        ("POST", "/v1/workflows/execute/exec_none/approve/apr_none"),
        ("POST", "/v1/orchestrate"),
        ("GET", "/v1/workflows/execute/exec_none/stream"),
    ],
)
def test_what_does_not_exist_is_404_in_the_current_error_shape(mindra: MindraClient, method: str, path: str) -> None:
    answer = mindra.http.request(method, f"{mindra.emulator.mindra}{path}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"


def test_an_unknown_approval_of_a_known_run_is_404(mindra: MindraClient) -> None:
    run = mindra.start()
    assert mindra.decide(run, "apr_none", "approve").status_code == 404


def test_a_request_without_a_key_is_401(shared: Emulator) -> None:
    answer = httpx.post(f"{shared.mindra}/v1/workflows/refund/run", json={"task": "x"}, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["code"] == "UNAUTHORIZED"


def test_only_the_configured_key_is_taken() -> None:
    with emulator("mindra", args=["--api-key", "the-key"]) as running:
        for key, status in (("the-key", 200), ("another", 401)):
            url = f"{running.url}/v1/workflows/refund/run"
            answer = httpx.post(url, json={"task": "x"}, headers={"x-api-key": key}, trust_env=False)
            assert answer.status_code == status


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"task": 5}', b'{"task":"x","metadata":[]}', b"[" * 100_000])
def test_a_start_without_a_task_is_400(mindra: MindraClient, body: bytes) -> None:
    answer = mindra.http.post(f"{mindra.emulator.mindra}/v1/workflows/refund/run", content=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"reason": 5}'])
def test_a_decision_with_a_broken_body_is_400_and_leaves_the_request_open(mindra: MindraClient, body: bytes) -> None:
    run = mindra.start()
    approval = mindra.asked(run)["approval"]
    url = f"{mindra.emulator.mindra}/v1/workflows/execute/{run}/approve/{approval}"
    assert mindra.http.post(url, content=body).status_code == 400
    assert mindra.emulator.pending(run=run)


def test_a_misspelled_fault_is_refused(mindra: MindraClient) -> None:
    url = f"{mindra.emulator.mindra}/v1/workflows/refund/run"
    for task in ("fault:cutt=3", "fault:cut=x", "fault:cut,never=1", "fault:ids=3"):
        answer = mindra.http.post(url, json={"task": task})
        assert (answer.status_code, answer.json()["code"]) == (400, "UNKNOWN_FAULT")


def test_nobody_answering_in_time_is_a_skip_that_no_event_tells() -> None:
    with emulator("mindra", args=["--approval-timeout", "0.2"]) as running, MindraClient(running) as client:
        run = client.start()
        frames = client.stream(run)
        assert set(named(frames)) <= {"chunk", "tool_executing", "tool_result", "approval_request", "done"}
        effect = row(running.effects(), run=run)
        assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (0, 0, 0, 1)
        assert client.decide(run, effect["approval"], "approve").json()["code"] == "APPROVAL_EXPIRED"
