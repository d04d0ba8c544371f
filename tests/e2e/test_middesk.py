"""Middesk from end to end: runs that ask, answers that count once the run shows it, through real processes."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.countersign import eventually
from tests.e2e.stage import Row, Stage
from tests.emulator import Emulator

pytestmark = pytest.mark.process
BUSINESS = "5b1e0000-0000-4000-8000-000000000001"
RESUME = json.dumps({"enabled": True})
CONFIRM_S = 60.0  # an answer without a word is given up after a while, and looked at again after that


@pytest.fixture(scope="module")
def account(on: Stage) -> str:
    return add(on, "middesk-answered", "--option", f"resume={RESUME}")


@pytest.fixture(autouse=True)
def _disarmed(on: Stage) -> Iterator[None]:
    yield
    on.agents.disarm()


def add(on: Stage, name: str, *more: str) -> str:
    on.house.command(
        "providers", "add", name, "--kind", "middesk", "--base-url", on.agents.middesk, "--secret-env", "AGENT_KEY",
        *more, env={"AGENT_KEY": "mk_test_for_tests"},
    )  # fmt: skip
    return name


def start(on: Stage, account: str, agent: str) -> str:
    body = {"provider": account, "workflow": agent, "options": {"business_id": BUSINESS}}
    answer = on.api.post("runs", json=body)
    assert answer.status_code == 201, answer.text
    run_id: str = answer.json()["id"]
    return run_id


def elsewhere(agents: Emulator, method: str, path: str, body: Any = None) -> Any:
    """What somebody else does at Middesk."""
    answer = httpx.request(
        method, f"{agents.middesk}/v1/{path}", json=body, headers={"authorization": "Bearer k"}, trust_env=False
    )
    answer.raise_for_status()
    return answer.json()


def interrupt_of(on: Stage, asked: Row) -> str:
    run = elsewhere(on.agents, "GET", f"runs/{on.run(asked['run_id'])['external_id']}")
    (found,) = run["interrupts"]
    return str(found["id"])


@pytest.mark.parametrize(("verdict", "did"), [("approve", (1, 0, 1, 0)), ("reject", (0, 1, 0, 1))])
def test_an_answer_has_its_effect_once_and_the_run_goes_on_to_its_end(
    on: Stage, account: str, verdict: str, did: tuple[int, int, int, int]
) -> None:
    run_id = start(on, account, "cip_orchestrator")
    (asked,) = on.asked(run_id)
    assert asked["tool_name"] == "combined_proposal"
    assert len(asked["tool_input"]["proposals"]) == 3
    assert asked["can"] == {"edit": False, "reason": True, "answer": False, "undo": False}
    answer = on.decide(asked, verdict, reason="as the files show")
    assert answer.status_code == 202, answer.text
    assert on.becomes(asked["id"], "delivered")["delivery"]["attempts"] == 1
    assert on.ended(run_id)["outcome"] == "completed"
    assert on.did(asked) == did
    assert len(on.requests(run_id)) == 1
    assert "as the files show" in json.dumps(on.events(run_id, kind="read_back")) + json.dumps(on.stored(run_id))


def test_a_second_question_comes_after_the_first_answer(on: Stage, account: str) -> None:
    run_id = start(on, account, "kyb_followup")
    for count in (1, 2):
        (asked,) = on.asked(run_id)
        on.approve(asked)
        on.becomes(asked["id"], "delivered")
        assert len([row for row in on.requests(run_id) if row["status"] == "delivered"]) == count
    assert on.ended(run_id)["outcome"] == "completed"


def test_two_questions_at_once_are_answered_each_by_itself(on: Stage, account: str) -> None:
    run_id = start(on, account, "people_screening")
    first, second = on.asked(run_id, 2)
    assert first["batch"] == {"id": None, "open": 1, "total": 1} or first["batch"]["total"] == 1
    on.reject(second)
    on.becomes(second["id"], "delivered")
    assert on.request(first["id"])["status"] == "pending"
    on.approve(first)
    on.becomes(first["id"], "delivered")
    on.ended(run_id)
    assert (on.did(first), on.did(second)) == ((1, 0, 1, 0), (0, 1, 0, 1))


def test_a_run_that_asks_nobody_ends_and_one_that_fails_says_where(on: Stage, account: str) -> None:
    quiet, failing = start(on, account, "address_risk"), start(on, account, "registry_search")
    assert on.ended(quiet)["outcome"] == "completed"
    assert on.ended(failing, "failed")["error"].startswith("failed at: The registry")
    assert on.requests(quiet) == on.requests(failing) == []


def test_a_task_is_refused_for_there_is_no_place_for_it(on: Stage, account: str) -> None:
    body = {"provider": account, "workflow": "cip_orchestrator", "options": {"business_id": BUSINESS}, "task": "Check"}
    answer = on.api.post("runs", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["task"]


def test_runs_are_started_and_watched_by_command(on: Stage, account: str) -> None:
    said = on.house.command(
        "runs", "start", account, "--workflow", "tin_verification", "--option", f"business_id={BUSINESS}"
    )
    (asked,) = on.asked(json.loads(said)["id"])
    on.approve(asked)
    on.ended(json.loads(said)["id"])

    theirs = elsewhere(on.agents, "POST", "runs", {"type": "tin_verification", "business_id": BUSINESS})["id"]
    watched = json.loads(on.house.command("runs", "watch", account, theirs))["id"]
    (asked,) = on.asked(watched)
    on.approve(asked)
    assert on.ended(watched)["outcome"] == "completed"
    assert json.loads(on.house.command("runs", "watch", account, theirs))["id"] == watched


def test_an_account_without_a_template_for_answers_is_read_only(on: Stage) -> None:
    run_id = start(on, add(on, "middesk-read-only"), "tin_verification")
    (asked,) = on.asked(run_id)
    answer = on.decide(asked, "approve")
    assert (answer.status_code, answer.json()["code"]) == (403, "read_only")
    body = {"interrupt_id": interrupt_of(on, asked), "input": {"decision": "approve"}}
    elsewhere(on.agents, "POST", f"runs/{on.run(run_id)['external_id']}/resume", body)
    # Nobody tells us: it is read now and then.
    assert on.becomes(asked["id"], "withdrawn", within_s=90.0)["decision"] is None
    assert on.ended(run_id)["outcome"] == "completed"


def test_an_answer_that_took_effect_without_a_word_is_found_delivered_and_never_sent_twice(
    on: Stage, account: str
) -> None:
    run_id = start(on, account, "tin_verification")
    (asked,) = on.asked(run_id)
    on.agents.arm("effect-then-drop", run=on.run(run_id)["external_id"])
    on.approve(asked)
    on.becomes(asked["id"], "delivered", within_s=CONFIRM_S)
    on.ended(run_id)
    assert on.did(asked) == (1, 0, 1, 0)


def test_an_answer_that_shows_late_counts_when_it_shows(on: Stage, account: str) -> None:
    run_id = start(on, account, "tin_verification")
    (asked,) = on.asked(run_id)
    on.agents.arm("slow-readback", run=on.run(run_id)["external_id"], seconds=4)
    on.approve(asked)
    on.becomes(asked["id"], "delivered")
    assert on.did(asked) == (1, 0, 1, 0)


def test_a_killed_server_asks_nothing_twice_and_goes_on(on: Stage, account: str) -> None:
    waiting, answered = start(on, account, "kyb_followup"), start(on, account, "watchlist_resolution")
    (first,) = on.asked(waiting)
    (other,) = on.asked(answered)
    on.house.kill()
    interrupt_id = elsewhere(on.agents, "GET", f"runs/{external_id_of(on, other)}")["interrupts"][0]["id"]
    body = {"interrupt_id": interrupt_id, "input": {"decision": "reject"}}
    elsewhere(on.agents, "POST", f"runs/{external_id_of(on, other)}/resume", body)
    on.restart()
    on.approve(first)
    on.becomes(first["id"], "delivered")
    second = eventually(lambda: [row for row in on.requests(waiting) if row["status"] == "pending"])[0]
    on.approve(second)
    assert on.ended(waiting)["outcome"] == "completed"
    assert on.ended(answered, within_s=90.0)["outcome"] == "completed"
    assert on.request(other["id"])["status"] == "withdrawn"
    assert (on.did(first), on.did(second)) == ((1, 0, 1, 0), (1, 0, 1, 0))
    assert len(on.requests(waiting)) == 2


def external_id_of(on: Stage, asked: Row) -> str:
    """By the emulator's word: our own server may be down."""
    (found,) = on.agents.effects(kind="middesk", input_sha256=asked["input_sha256"])
    return str(found["run"])


@pytest.mark.parametrize("how", ["404", "eof"])
def test_a_watched_run_whose_events_are_no_longer_kept_is_known_by_itself(on: Stage, account: str, how: str) -> None:
    theirs = elsewhere(on.agents, "POST", "runs", {"type": "industry_classification", "business_id": BUSINESS})["id"]
    eventually(lambda: elsewhere(on.agents, "GET", f"runs/{theirs}")["status"] == "completed")
    on.agents.arm("after-done", run=theirs, how=how)
    watched = on.api.post("runs/watch", json={"provider": account, "external_id": theirs}).json()["id"]
    assert on.ended(watched)["outcome"] == "completed"
