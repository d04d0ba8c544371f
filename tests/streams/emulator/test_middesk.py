"""Middesk's wire as documented, and as assumed where it is not (contract: docs.middesk.com, read 2026-11)."""

import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from streams.emulator.middesk_stories import AGENTS, AUDITED
from streams.emulator.state import sha256
from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import Frame, MiddeskClient, MindraClient, named, row, wait_for

BUSINESS = "5b1e0000-0000-4000-8000-000000000002"
NOBODY = "5b1e0000-0000-4000-8000-00000000dead"
RUN_FIELDS = {
    "object",
    "id",
    "created_at",
    "updated_at",
    "status",
    "thread_id",
    "agent",
    "requester",
    "started_at",
    "ended_at",
    "output",
    "interrupts",
}


def value_text(frame: Frame) -> str:
    """The raw slice of the first interrupt's value in a snapshot."""
    start = frame.data.index('"value":', frame.data.index('"interrupts":')) + len('"value":')
    _, end = json.JSONDecoder().raw_decode(frame.data, start)
    return frame.data[start:end]


def snapshots(frames: list[Frame]) -> list[dict[str, Any]]:
    return [frame.json()["snapshot"] for frame in frames if frame.event == "STATE_SNAPSHOT"]


def all_steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for step in steps for found in (step, *all_steps(step["steps"]))]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status, and the parameter of the one error."""
    (error,) = answer.json()["errors"]
    assert set(error) <= {"message", "parameter"}
    assert error["message"]
    return answer.status_code, error.get("parameter", "")


# -- starting and reading


def test_a_start_answers_201_with_a_run_that_has_a_thread_of_its_own(middesk: MiddeskClient) -> None:
    answer = middesk.post("runs", {"type": "industry_classification", "business_id": BUSINESS})
    assert answer.status_code == 201
    run = answer.json()
    assert set(run) == RUN_FIELDS
    assert (run["object"], run["status"], run["agent"]) == ("run", "running", "industry_classification")
    assert (run["interrupts"], run["output"]) == ([], None)
    assert UUID(run["id"]) != UUID(run["thread_id"])
    thread = middesk.http.get(f"{middesk.base}/threads/{run['thread_id']}").json()
    assert thread["object"] == "thread"


def test_a_run_can_be_started_in_a_thread_and_takes_its_business(middesk: MiddeskClient) -> None:
    made = middesk.post("threads", {"type": "tin_verification", "business_id": BUSINESS})
    assert made.status_code == 201
    thread = made.json()
    fields = {"object", "id", "created_at", "updated_at", "status", "metadata", "requester", "steps"}
    assert set(thread) == fields
    answer = middesk.post("runs", {"type": "tin_verification", "thread_id": thread["id"]})
    assert (answer.status_code, answer.json()["thread_id"]) == (201, thread["id"])
    asked = middesk.asked(answer.json()["id"])
    assert asked["value"]["proposed_action"]["object_id"] == BUSINESS
    seen = middesk.http.get(f"{middesk.base}/threads/{thread['id']}").json()
    assert seen["status"] == "interrupted"
    assert seen["steps"]
    listed = middesk.http.get(f"{middesk.base}/threads", params={"business_id": BUSINESS}).json()
    assert thread["id"] in [one["id"] for one in listed["data"]]


def test_context_type_and_context_id_are_the_long_form_of_a_business(middesk: MiddeskClient) -> None:
    body = {"type": "tin_verification", "context_type": "business", "context_id": BUSINESS}
    run = middesk.post("runs", body).json()["id"]
    assert middesk.asked(run)["value"]["proposed_action"]["object_id"] == BUSINESS


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        ({"type": "tin_verification"}, 400, ""),
        ([], 400, ""),
        ({"business_id": BUSINESS}, 422, "type"),
        ({"type": "no_such_agent", "business_id": BUSINESS}, 404, "type"),
        ({"type": "tin_verification", "thread_id": NOBODY}, 404, "thread_id"),
        ({"type": "tin_verification", "business_id": "five"}, 422, "business_id"),
        ({"type": "tin_verification", "context_id": BUSINESS}, 422, "context_type"),
        ({"type": "tin_verification", "context_type": "person", "context_id": BUSINESS}, 422, "context_type"),
        ({"type": "tin_verification", "business_id": AUDITED}, 422, "business_id"),
        ({"type": "tin_verification fault:cutt", "business_id": BUSINESS}, 422, "type"),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_an_array_of_errors(
    middesk: MiddeskClient, body: Any, status: int, parameter: str
) -> None:
    assert refusal(middesk.post("runs", body)) == (status, parameter)


def test_runs_are_listed_in_an_envelope_newest_first(middesk: MiddeskClient) -> None:
    made = [middesk.start("industry_classification") for _ in range(3)]
    first = middesk.http.get(f"{middesk.base}/runs", params={"per_page": 2}).json()
    assert set(first) == {"object", "has_more", "data", "total_count"}
    assert (first["object"], first["has_more"]) == ("list", True)
    second = middesk.http.get(f"{middesk.base}/runs", params={"per_page": 2, "page": 2}).json()
    assert [run["id"] for run in first["data"] + second["data"]][:3] == made[::-1]
    assert refusal(middesk.http.get(f"{middesk.base}/runs", params={"page": 0})) == (400, "page")
    assert refusal(middesk.http.get(f"{middesk.base}/runs", params={"per_page": 101})) == (400, "per_page")


def test_steps_come_with_include_steps_only(middesk: MiddeskClient) -> None:
    run = middesk.start("cip_orchestrator")
    middesk.asked(run)
    assert "steps" not in middesk.read(run)
    steps = middesk.read(run, steps=True)["steps"]
    needed = {"id", "run_id", "type", "name", "label", "status", "started_at"}
    assert all(needed <= set(step) for step in all_steps(steps))
    assert {step["run_id"] for step in all_steps(steps)} == {run}
    nested = [step for step in steps if step["steps"]]
    assert len(nested) == 3
    assert all(child["parent_step_id"] == step["id"] for step in nested for child in step["steps"])
    last = steps[-1]
    assert (last["type"], last["status"], bool(last["artifacts"])) == ("interrupt", "running", True)


def test_agents_are_listed_and_found_by_id(middesk: MiddeskClient) -> None:
    agents = middesk.http.get(f"{middesk.base}/agents").json()["data"]
    assert {agent["type"] for agent in agents} == set(AGENTS)
    assert middesk.http.get(f"{middesk.base}/agents/{agents[0]['id']}").json() == agents[0]


@pytest.mark.parametrize("path", ["runs/none", "runs/none/stream", "threads/none", "agents/none", "nothing"])
def test_what_does_not_exist_is_404(middesk: MiddeskClient, path: str) -> None:
    assert refusal(middesk.http.get(f"{middesk.base}/{path}"))[0] == 404


def test_a_key_comes_as_bearer_or_as_the_basic_user_and_only_the_configured_one_is_taken() -> None:
    with emulator("middesk", args=["--api-key", "mk_test_1"]) as running:

        def status(**headers: str) -> int:
            answer = httpx.get(f"{running.url}/v1/agents", headers=headers, trust_env=False)
            return answer.status_code

        assert status(authorization="Bearer mk_test_1") == 200
        assert status(authorization=httpx.BasicAuth("mk_test_1", "")._auth_header) == 200
        assert status(authorization="Bearer mk_live_1") == 401
        assert status(authorization="Basic !!!") == 401
        assert status() == 401


# -- the stream


def test_the_stream_has_event_lines_snake_case_and_no_ids(middesk: MiddeskClient) -> None:
    run = middesk.start("industry_classification")
    middesk.ended(run)
    frames = middesk.stream(run)
    assert {frame.id for frame in frames} == {""}
    assert named(frames)[0] == "RUN_STARTED"
    assert set(named(frames)[1:-1]) == {"STATE_SNAPSHOT"}
    assert frames[0].json() == {"run_id": run}
    assert all(set(frame.json()) == {"run_id", "snapshot"} for frame in frames[1:-1])
    assert (frames[-1].event, frames[-1].json()) == ("RUN_FINISHED", {"run_id": run})


def test_a_snapshot_is_the_whole_run_with_steps_and_artifacts(middesk: MiddeskClient) -> None:
    run = middesk.start("industry_classification")
    middesk.ended(run)
    shown = snapshots(middesk.stream(run))
    assert all(set(snapshot) == RUN_FIELDS | {"steps"} for snapshot in shown)
    assert shown[-1] == middesk.read(run, steps=True)
    (artifact,) = shown[-1]["output"]["artifacts"]
    assert set(artifact) == {"title", "type", "confidence", "summary", "sources"}
    assert isinstance(artifact["confidence"], str)
    assert set(artifact["sources"][0]) == {"url", "source_name", "source_tier", "source_type"}
    assert all(snapshot["output"] is None for snapshot in shown if snapshot["status"] != "completed")


def test_a_completed_run_replays_all_events_from_the_beginning_and_closes(middesk: MiddeskClient) -> None:
    run = middesk.start("industry_classification")
    live = middesk.stream(run)
    assert live[-1].event == "RUN_FINISHED"
    assert middesk.stream(run) == live


def test_an_interrupted_stream_ends_in_run_finished_and_goes_on_behind_it_after_the_answer(
    middesk: MiddeskClient,
) -> None:
    run = middesk.start("watchlist_resolution")
    before = middesk.stream(run)
    assert named(before)[-2:] == ["STATE_SNAPSHOT", "RUN_FINISHED"]
    snapshot = snapshots(before)[-1]
    assert snapshot["status"] == "interrupted"
    (interrupt,) = snapshot["interrupts"]
    assert set(interrupt) == {"id", "value", "agent"}
    assert interrupt["agent"] == interrupt["value"]["agent"] == "watchlist_resolution"
    assert middesk.resume(run, interrupt["id"]).status_code == 200
    after = middesk.stream(run)
    assert after[: len(before)] == before
    assert named(after)[len(before)] == "RUN_STARTED"
    assert after[-1].event == "RUN_FINISHED"
    assert snapshots(after)[-1]["status"] == "completed"


def test_the_hash_is_that_of_the_raw_text_of_the_value_and_reading_spells_it_so(middesk: MiddeskClient) -> None:
    run = middesk.start("odd_findings")
    frame = middesk.stream(run)[-2]
    pending = row(middesk.emulator.pending(), run=run)
    assert pending["input_sha256"] == sha256(value_text(frame))
    assert row(middesk.emulator.effects(), run=run)["input_sha256"] == pending["input_sha256"]
    assert value_text(frame) in middesk.http.get(f"{middesk.base}/runs/{run}").text


def test_three_sub_agents_come_as_one_combined_proposal(middesk: MiddeskClient) -> None:
    value = middesk.asked(middesk.start("cip_orchestrator"))["value"]
    assert (value["type"], value["agent"], len(value["proposals"])) == ("combined_proposal", "cip_orchestrator", 3)
    agents = [proposal["agent"] for proposal in value["proposals"]]
    assert agents == ["watchlist_resolution", "tin_verification", "address_verification"]
    assert all(proposal["artifacts"] and proposal["label"] for proposal in value["proposals"])


# -- the answer


def test_an_answer_gives_the_run_without_that_interrupt(middesk: MiddeskClient) -> None:
    run = middesk.start()
    asked = middesk.asked(run)
    body = {"interrupt_id": asked["id"], "input": {"decision": "reject", "note": "same person"}}
    answer = middesk.http.post(f"{middesk.base}/runs/{run}/resume", params={"include": "steps"}, json=body)
    assert answer.status_code == 200
    assert (answer.json()["interrupts"], answer.json()["status"] != "interrupted") == ([], True)
    assert answer.json()["steps"]
    done = middesk.ended(run)
    assert "same person" in done["output"]["artifacts"][0]["summary"]
    step = all_steps(middesk.read(run, steps=True)["steps"])[-1]
    assert (step["type"], step["status"], "result" in step) == ("interrupt", "completed", False)
    effect = row(middesk.emulator.effects(), run=run)
    assert (effect["kind"], effect["approval"], effect["tool"]) == ("middesk", asked["id"], "watchlist_resolution")
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (0, 1, 0, 1)


def test_two_interrupts_are_answered_one_by_one(middesk: MiddeskClient) -> None:
    run = middesk.start("people_screening")
    first, second = wait_for(lambda: middesk.read(run)["interrupts"])
    assert middesk.resume(run, second["id"]).json()["interrupts"] == [first]
    frames = wait_for(lambda: f if len(snapshots(f := middesk.stream(run))[-1]["interrupts"]) == 1 else [])
    assert snapshots(frames)[-1]["status"] == "interrupted"
    assert middesk.resume(run, first["id"], "reject").status_code == 200
    assert middesk.ended(run)["output"]["artifacts"][0]["summary"] == "1 of 2 hits were dismissed."
    assert sorted(effect["executed"] for effect in middesk.emulator.effects(run=run)) == [0, 1]


def test_a_run_asks_again_under_a_new_id(middesk: MiddeskClient) -> None:
    run = middesk.start("kyb_followup")
    first = middesk.asked(run)["id"]
    middesk.resume(run, first)
    second = middesk.asked(run)["id"]
    assert second != first
    middesk.resume(run, second)
    assert middesk.ended(run)["status"] == "completed"
    assert [effect["executed"] for effect in middesk.emulator.effects(run=run)] == [1, 1]


def test_an_answer_that_cannot_be_taken_is_404_409_or_422_and_does_nothing(middesk: MiddeskClient) -> None:
    assert refusal(middesk.resume(NOBODY, "int_none"))[0] == 404
    quiet = middesk.start("industry_classification")
    middesk.ended(quiet)
    assert refusal(middesk.resume(quiet, "int_none"))[0] == 422
    run = middesk.start()
    asked = middesk.asked(run)["id"]
    assert refusal(middesk.resume(run, "int_none")) == (404, "interrupt_id")
    assert refusal(middesk.resume(run, asked, "maybe")) == (422, "input.decision")
    assert refusal(middesk.post(f"runs/{run}/resume", {"input": {"decision": "approve"}})) == (422, "interrupt_id")
    assert refusal(middesk.http.post(f"{middesk.base}/runs/{run}/resume", content=b"{"))[0] == 400
    assert middesk.emulator.pending(run=run)
    middesk.resume(run, asked)
    for decision in ("approve", "reject"):
        assert refusal(middesk.resume(run, asked, decision)) == (409, "interrupt_id")
    effect = row(middesk.emulator.effects(), run=run)
    assert (effect["approve"], effect["reject"], effect["executed"], effect["skipped"]) == (2, 1, 1, 0)


# -- agents


@pytest.mark.parametrize("decision", ["approve", "reject"])
@pytest.mark.parametrize("type", AGENTS)
def test_an_agent_plays_to_its_end(middesk: MiddeskClient, type: str, decision: str) -> None:
    run, answered = middesk.start(type), 0
    while True:
        frames = middesk.stream(run)
        snapshot = snapshots(frames)[-1]
        assert frames[-1].event == "RUN_FINISHED"
        if snapshot["status"] != "interrupted":
            break
        for interrupt in middesk.read(run)["interrupts"]:
            answered += 1
            assert middesk.resume(run, interrupt["id"], decision).status_code == 200
    assert snapshot["status"] == ("error" if type == "registry_search" else "completed")
    assert snapshot["ended_at"]
    assert answered == AGENTS[type].asks or decision == "reject"
    effects = middesk.emulator.effects(run=run)
    assert sum(effect["executed" if decision == "approve" else "skipped"] for effect in effects) == answered


@pytest.mark.parametrize(("type", "resolution"), [("address_risk", "auto_approve"), ("web_presence", "skip")])
def test_a_policy_resolves_an_interrupt_without_anybody(middesk: MiddeskClient, type: str, resolution: str) -> None:
    run = middesk.start(type)
    assert middesk.ended(run)["status"] == "completed"
    assert {snapshot["status"] for snapshot in snapshots(middesk.stream(run))} == {"running", "completed"}
    (step,) = [step for step in middesk.read(run, steps=True)["steps"] if step["type"] == "interrupt"]
    assert (step["status"], step["result"]) == ("completed", {"resolution": resolution})
    assert not middesk.emulator.effects(run=run)


def test_a_failed_run_has_an_error_step_and_no_output(middesk: MiddeskClient) -> None:
    run = middesk.start("registry_search")
    assert (middesk.ended(run)["status"], middesk.read(run)["output"]) == ("error", None)
    step = middesk.read(run, steps=True)["steps"][-1]
    assert (step["type"], step["status"]) == ("error", "error")


def test_words_vary_by_run_and_are_the_same_for_the_same_seed() -> None:
    values = []
    for _ in range(2):
        with emulator("middesk", seed=11) as running, MiddeskClient(running) as client:
            values.append([client.asked(client.start())["value"] for _ in range(2)])
    assert values[0] == values[1]
    assert values[0][0] != values[0][1]


def test_an_agent_can_be_forced_on_every_run_and_middesk_alone_answers_at_the_root() -> None:
    with emulator("middesk", args=["--scenario", "kyb_followup"]) as running, MiddeskClient(running) as client:
        body = {"type": "web_presence", "business_id": BUSINESS}
        assert client.http.post(f"{running.url}/v1/runs", json=body).json()["agent"] == "kyb_followup"
        assert client.http.get(f"{running.url}/_scenarios").json().keys() == {"middesk"}


def test_an_agent_forced_on_middesk_leaves_the_other_providers_alone() -> None:
    with emulator(args=["--scenario", "kyb_followup"]) as running, MindraClient(running) as mindra:
        assert mindra.asked(mindra.start("x", "refund"))["tool"] == "issue_refund"


def test_offers_say_how_to_start_each_agent(shared: Emulator, middesk: MiddeskClient) -> None:
    offers = middesk.http.get(f"{shared.url}/_scenarios").json()["middesk"]
    assert {offer["workflow"] for offer in offers} == set(AGENTS)
    for offer in offers:
        assert set(offer) == {"workflow", "task", "options", "title", "asks"}
        assert middesk.post("runs", {"type": offer["workflow"], **offer["options"]}).status_code == 201
