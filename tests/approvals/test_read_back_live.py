"""Middesk's and Agno's answers through real processes: what their emulator did, against what the API says of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.countersign import eventually
from tests.e2e.stage import Stage, stage

pytestmark = [pytest.mark.long, pytest.mark.process]
Row = dict[str, Any]
ACCOUNT = "middesk-answers"
PAUSES = "agno-answers"
BUSINESS = "5f0d5a0e-8c0b-4a51-9c5f-6f6b7f6f2d11"
WITHIN_S = 90.0  # two waits of ten seconds and a slow machine


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("read-back")) as made:
        made.house.command(
            "providers", "add", ACCOUNT, "--kind", "middesk", "--base-url", made.agents.middesk,
            "--secret-env", "AGENT_KEY", "--option", 'resume={"enabled": true}', env={"AGENT_KEY": "mk_test_key"},
        )  # fmt: skip
        made.provider(PAUSES, "agno", made.agents.agno)
        yield made
        log = made.house.log.read_text()
    assert "Traceback" not in log, log[-5000:]


def ask(on: Stage, faults: str = "", agent: str = "watchlist_resolution") -> Row:
    """Start a run and return its first question."""
    body = {"provider": ACCOUNT, "workflow": f"{agent} {faults}".strip(), "options": {"business_id": BUSINESS}}
    answer = on.api.post("runs", json=body)
    assert answer.status_code == 201, answer.text
    return on.asked(answer.json()["id"])[0]


def versions(on: Stage, asked: Row) -> list[str]:
    """The statuses of all that was asked on its run, oldest first."""
    return [row["status"] for row in on.requests(asked["run_id"])]


def done(on: Stage, asked: Row) -> tuple[int, int, int, int]:
    """What the agent heard and did about a question: yes, no, carried out, left."""
    return on.did(asked)


def delivered(on: Stage, asked: Row) -> None:
    on.becomes(asked["id"], "delivered", within_s=WITHIN_S)
    on.ended(asked["run_id"], within_s=WITHIN_S)


def test_a_decision_is_delivered_once_the_run_shows_it(on: Stage) -> None:
    yes, no = ask(on), ask(on)
    on.approve(yes)
    on.reject(no, reason="not him")
    for asked in (yes, no):
        delivered(on, asked)
        assert versions(on, asked) == ["delivered"]
    assert (done(on, yes), done(on, no)) == ((1, 0, 1, 0), (0, 1, 0, 1))


def test_an_answer_that_was_taken_without_a_word_is_found_in_the_run_and_not_repeated(on: Stage) -> None:
    questions = [ask(on, f"fault:{fault}") for fault in ("effect-then-drop", "effect-then-drop=500")]
    for asked in questions:
        on.approve(asked)
    for asked in questions:
        delivered(on, asked)
        assert (versions(on, asked), done(on, asked)) == (["delivered"], (1, 0, 1, 0))
        assert on.request(asked["id"])["delivery"]["attempts"] == 1


def test_an_answer_that_was_not_taken_is_asked_again_of_a_person(on: Stage) -> None:
    """Lost before or behind the provider's door, or refused while the run still asks."""
    lost = ["drop-before-effect", "status=503,on=decision", "status=200,on=decision"]
    refused = [f"status={code},on=decision" for code in (404, 409, 410, 422)]
    questions = [ask(on, f"fault:{fault}") for fault in lost + refused]
    for asked in questions:
        on.approve(asked)
    for asked in questions:
        on.becomes(asked["id"], "stale", within_s=WITHIN_S)
        (again,) = on.asked(asked["run_id"])
        assert (again["tool_input_text"], done(on, asked)[2:]) == (asked["tool_input_text"], (0, 0))
        on.reject(again)
        delivered(on, again)
        assert (versions(on, asked), done(on, asked)[2:]) == (["stale", "delivered"], (0, 1))


def test_a_run_that_shows_the_effect_late_is_waited_for(on: Stage) -> None:
    soon, late = ask(on, "fault:slow-readback=3"), ask(on, "fault:slow-readback=17")
    on.approve(soon)
    on.approve(late)
    on.becomes(late["id"], "unknown", within_s=WITHIN_S)
    for asked in (soon, late):
        delivered(on, asked)
        assert (versions(on, asked), done(on, asked)) == (["delivered"], (1, 0, 1, 0))


def test_a_question_that_is_answered_in_middesk_waits_for_nobody_here(on: Stage) -> None:
    asked = ask(on)
    on.agents.arm("resolved-outside", run=on.run(asked["run_id"])["external_id"], how="approve")
    on.becomes(asked["id"], "withdrawn", within_s=WITHIN_S)
    answer = on.decide(asked, "approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_pending")
    assert done(on, asked)[:2] == (0, 0)


def test_of_two_questions_each_is_answered_by_itself(on: Stage) -> None:
    first = ask(on, agent="people_screening")
    second = next(row for row in on.asked(first["run_id"], 2) if row["id"] != first["id"])
    on.approve(first)
    on.reject(second)
    for asked in (first, second):
        delivered(on, asked)
    assert (done(on, first), done(on, second)) == ((1, 0, 1, 0), (0, 1, 0, 1))


def test_an_answer_under_way_when_the_server_dies_is_not_sent_again(on: Stage) -> None:
    asked = ask(on, "fault:slow-readback=4")
    on.approve(asked)
    on.becomes(asked["id"], "sent", within_s=WITHIN_S)
    eventually(lambda: done(on, asked)[0] == 1, within_s=WITHIN_S)
    on.house.kill()
    on.restart()
    delivered(on, asked)
    assert (versions(on, asked), done(on, asked)) == (["delivered"], (1, 0, 1, 0))


def test_a_pause_of_two_calls_that_was_not_taken_is_asked_again_whole(on: Stage) -> None:
    """Lost before the provider's door, answered without a word, or refused while the run still waits."""
    faults = ["drop-before-effect", "status=503,on=decision", "status=200,on=decision", "status=409,on=decision"]
    pauses = [_pause(on, f"fault:{fault}") for fault in faults]
    for pause in pauses:
        for asked in pause:
            on.approve(asked)
    for pause in pauses:
        for asked in pause:
            on.becomes(asked["id"], "stale", within_s=WITHIN_S)
        first, second = on.asked(pause[0]["run_id"], 2)
        assert first["batch"]["id"] == second["batch"]["id"] != pause[0]["batch"]["id"]
        assert [done(on, asked)[2:] for asked in pause] == [(0, 0), (0, 0)]
        on.approve(first)
        on.reject(second)
        for asked in (first, second):
            delivered(on, asked)
        assert [done(on, asked)[2:] for asked in (first, second)] == [(1, 0), (0, 1)]


def _pause(on: Stage, faults: str) -> list[Row]:
    answer = on.api.post("runs", json={"provider": PAUSES, "workflow": "desk", "task": f"account-deletion {faults}"})
    assert answer.status_code == 201, answer.text
    return on.asked(answer.json()["id"], 2)
