"""What a provider, a network or a killed process does to runs and decisions, through real processes."""

import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.countersign import PATIENT_S, approvals, eventually
from tests.e2e.rules import resolve
from tests.e2e.stage import Stage
from tests.emulator import emulator

pytestmark = pytest.mark.process

KINDS = ["mindra", "agui"]


# --- the stream -------------------------------------------------------------------------------------------------------


def test_a_stream_cut_inside_frames_loses_and_doubles_nothing(on: Stage) -> None:
    """The provider replays the whole run on each connection, gives ids, or sends a frame twice."""
    faults = [f"fault:cut={after}*3" for after in (1, 2, 4, 7)]
    faults += ["fault:ids*all fault:cut=3*3", "fault:cut=5,reset=true*2", "fault:slow=3,delay_ms=0 fault:cut=6"]
    runs = [on.start("the-mindra", "outbound-email", faults=one) for one in faults]
    for run_id in runs:
        on.approve(on.asked(run_id)[0])
    for run_id, fault in zip(runs, faults, strict=True):
        assert on.ended(run_id)["outcome"] == "completed"
        assert on.remarks(run_id).count("connected") >= 2, fault
        assert on.stored(run_id) == on.told(run_id), fault
        assert {"gap", "divergence"}.isdisjoint(on.remarks(run_id)), fault
        assert len(on.requests(run_id)) == 1, fault


def test_a_gap_is_shown_when_frames_may_be_missing_and_only_then(on: Stage) -> None:
    runs = {
        how: on.start("the-mindra", "outbound-email", faults="fault:ids*all" if how == "ids" else "")
        for how in ("overlap", "short", "tail", "ids")
    }
    for how, run_id in runs.items():
        asked, external_id = on.asked(run_id)[0], on.run(run_id)["external_id"]
        seen = on.agents.runs(run=external_id)[0]["frames"]
        if how in ("overlap", "short"):  # of what follows the answer, one frame arrives before the cut
            on.agents.arm("replay-overlap", run=external_id, n=seen if how == "overlap" else 1)
            on.agents.arm("cut", run=external_id, after=seen + 1)
            on.approve(asked)
        else:  # cut while it waits, so that nothing is missing; without ids nobody can know that
            on.agents.arm("replay-tail", run=external_id)
            on.agents.arm("cut", run=external_id, after=1)
            eventually(lambda run_id=run_id: on.remarks(run_id).count("connected") == 2)  # type: ignore[misc]
            on.approve(asked)
    for run_id in runs.values():
        assert on.ended(run_id)["outcome"] == "completed"
    on.agents.disarm()
    for how, run_id in runs.items():
        stored, told = on.stored(run_id), on.told(run_id)
        missing = len(told) - len(stored)
        assert (missing > 0) == (how == "short"), how
        assert stored == told[: len(stored) - 1] + told[-1:], how
        assert on.remarks(run_id).count("gap") == (how in ("short", "tail")), how
        assert "divergence" not in on.remarks(run_id), how


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["fault:effect-then-drop,on=start", "fault:effect-then-drop=500,on=start"])
def test_a_start_without_an_answer_is_said_to_be_in_doubt_and_is_not_sent_again(
    on: Stage, kind: str, fault: str
) -> None:
    task = f"{fault} {time.time()}"
    run_id = on.start(f"the-{kind}", "refund", faults=task)
    row = on.ended(run_id, "lost", "truncated", "failed")
    assert "It may have started: check at the provider." in row["error"], row
    on.house.kill()
    on.restart()
    on.asked(on.start(f"the-{kind}", "refund"))
    assert len([run for run in on.agents.runs() if task in run["task"]]) == 1
    assert on.run(run_id)["status"] == row["status"]


def test_a_kill_among_starts_starts_nothing_twice_and_hides_nothing(on: Stage) -> None:
    mark = f"killed among starts {time.time()}"
    runs = [on.start(f"the-{KINDS[number % 2]}", "refund", faults=f"{mark} {number}") for number in range(12)]

    def begun() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for run in on.agents.runs():
            if mark in run["task"] and not run["continues"]:
                found.setdefault(run["task"], []).append(run["run"])
        return found

    eventually(begun, why="the first of them has begun")
    on.house.kill()
    on.restart()
    settled = ("waiting", "lost", "truncated")
    rows = [on.ended(run_id, *settled) for run_id in runs]
    at_agents = begun()
    assert max(len(ids) for ids in at_agents.values()) == 1
    for run_id, row in zip(runs, rows, strict=True):
        if row["status"] == "waiting":
            assert row["external_id"] in at_agents[row["title"]]
            assert len(on.asked(run_id)) == 1
        else:
            assert row["error"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_killed_with_requests_pending_has_them_all_afterwards(on: Stage, kind: str) -> None:
    scenarios = ["outbound-email", "account-deletion", "sql-migration"]
    runs = [on.start(f"the-{kind}", scenario) for scenario in scenarios]
    before = [row for run_id in runs for row in on.asked(run_id)]
    on.asked(runs[1], 2)
    before = [row for run_id in runs for row in on.requests(run_id)]
    assert len(before) == 4
    on.house.kill()
    on.restart()
    connected = 2 if kind == "mindra" else 1
    eventually(lambda: all(on.remarks(run_id).count("connected") == connected for run_id in runs), why="held again")
    after = [row for run_id in runs for row in on.requests(run_id)]
    assert after == before
    for row in after:
        on.approve(row)
    for row in after:
        on.becomes(row["id"], "delivered")
        assert on.did(row) == (1, 0, 1, 0)
    for run_id in runs:
        on.ended(run_id)


# --- the answer to a decision -----------------------------------------------------------------------------------------


def test_a_lost_answer_is_made_good_by_what_the_run_shows(on: Stage) -> None:
    """Mindra took the approval and dropped the connection; then the stream shows the very tool running."""
    run_id = on.start("the-mindra", "outbound-email", faults="fault:effect-then-drop")
    asked = on.asked(run_id)[0]
    on.approve(asked)
    row = on.becomes(asked["id"], "delivered")
    assert row["delivery"] == {"state": "delivered", "attempts": 1, "last_error": row["delivery"]["last_error"]}
    assert on.ended(run_id)["outcome"] == "completed"
    assert on.did(asked) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("fault", "executed"),
    [
        ("fault:effect-then-drop", 1),
        ("fault:effect-then-drop=500", 1),
        ("fault:drop-before-effect", 0),
        ("fault:status=503,on=decision", 0),
    ],
)
def test_an_unanswered_mindra_decision_stays_unknown_and_is_never_sent_again(
    on: Stage, fault: str, executed: int
) -> None:
    """Two requests are open, so nothing on the stream tells which one was answered."""
    run_id = on.start("the-mindra", "account-deletion", faults=fault)
    first, second = on.asked(run_id, 2)
    on.approve(first)
    row = on.becomes(first["id"], "unknown")
    assert (row["delivery"]["state"], row["delivery"]["attempts"]) == ("unknown", 1)
    assert row["delivery"]["last_error"]
    again = on.decide(first, "approve")
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    on.reject(second)  # the other one goes its way
    on.becomes(second["id"], "delivered")
    on.house.kill()
    on.restart()
    assert on.request(first["id"])["status"] == "unknown"
    assert on.effect(first)["executed"] == executed
    assert sum(on.did(first)[:2]) <= 1
    assert on.did(second) == (0, 1, 0, 1)


@pytest.mark.parametrize(
    ("fault", "executed"),
    [
        ("fault:effect-then-drop", 1),
        ("fault:effect-then-drop,sent=true", 1),
        ("fault:effect-then-drop=500", 1),
        ("fault:drop-before-effect", 0),
        ("fault:status=500,on=decision", 0),
        ("fault:cut=1,on=decision", 1),
    ],
)
def test_an_unanswered_ag_ui_decision_stays_unknown_and_is_never_sent_again(
    on: Stage, fault: str, executed: int
) -> None:
    run_id = on.start("the-agui", "refund", faults=fault)
    asked = on.asked(run_id)[0]
    on.approve(asked)
    row = on.becomes(asked["id"], "unknown")
    assert (row["delivery"]["state"], row["delivery"]["attempts"]) == ("unknown", 1)
    again = on.decide(asked, "reject")
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert on.effect(asked)["executed"] == executed
    assert sum(on.did(asked)[:2]) == 1


def test_an_ag_ui_run_in_doubt_waits_until_a_person_says_that_its_agent_went_on(on: Stage) -> None:
    run_id = on.start("the-agui", "refund", faults="fault:effect-then-drop")
    asked = on.asked(run_id)[0]
    on.approve(asked)
    on.becomes(asked["id"], "unknown")
    assert on.run(run_id)["status"] == "waiting"
    with closing(on.house.pages()) as browser:
        resolve(browser, asked["id"], "yes")
    assert on.request(asked["id"])["status"] == "delivered"
    run = on.run(run_id)
    assert (run["status"], run["outcome"]) == ("finished", "continued")
    assert on.chain(run_id)[-1]["status"] == "truncated"  # what its agent told meanwhile, nobody can tell again
    assert on.did(asked) == (1, 0, 1, 0)


def test_an_ag_ui_run_whose_agent_was_not_reached_is_answered_by_the_next_decision(on: Stage) -> None:
    run_id = on.start("the-agui", "refund", faults="fault:drop-before-effect")
    asked = on.asked(run_id)[0]
    on.approve(asked)
    on.becomes(asked["id"], "unknown")
    with closing(on.house.pages()) as browser:
        resolve(browser, asked["id"], "open")
    again = on.asked(run_id)[0]
    assert (again["id"] != asked["id"], on.request(asked["id"])["status"]) == (True, "stale")
    on.approve(again)
    on.becomes(again["id"], "delivered")
    assert on.run(run_id)["outcome"] == "continued"
    assert on.effect(asked)["executed"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 425])
def test_a_decision_that_comes_too_soon_is_sent_again_after_the_time_asked_for(
    on: Stage, kind: str, status: int
) -> None:
    fault = f"fault:status={status},retry_after=1,on=decision"
    run_id = on.start(f"the-{kind}", "outbound-email", faults=fault)
    asked = on.asked(run_id)[0]
    on.approve(asked)
    row = on.becomes(asked["id"], "delivered")
    assert row["delivery"]["attempts"] == 2
    assert on.ended(run_id)["status"] == "finished"
    assert on.did(asked)[2:] == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_credential_parks_the_decision_until_there_is_a_new_one(on: Stage, kind: str) -> None:
    base_url = on.agents.mindra if kind == "mindra" else on.agents.agent
    name = on.provider(f"locked-{kind}", kind, base_url)
    run_id = on.start(name, "sql-migration", faults="fault:status=401,on=decision")
    asked = on.asked(run_id)[0]
    on.approve(asked)
    eventually(lambda: on.request(asked["id"])["delivery"]["state"] == "parked")
    assert on.request(asked["id"])["status"] == "deciding"
    assert on.effect(asked)["executed"] == 0
    change = f"""
from dashboard import accounts
from streams.models import Provider
accounts.save(Provider.objects.get(name={name!r}), secret="a new one", actor="admin", origin="test")
"""
    on.house.command("shell", "--no-imports", "-c", change)
    assert on.becomes(asked["id"], "delivered")["delivery"]["attempts"] == 2
    on.ended(run_id)
    assert on.did(asked)[2:] == (1, 0)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_a_refusal_is_shown_as_one(on: Stage, status: int) -> None:
    runs = [on.start(f"the-{kind}", "refund", faults=f"fault:status={status},on=decision") for kind in KINDS]
    for run_id in runs:
        asked = on.asked(run_id)[0]
        on.approve(asked)
        row = on.becomes(asked["id"], "refused_by_provider")
        assert (row["delivery"]["state"], row["delivery"]["attempts"]) == ("refused", 1)
        assert on.effect(asked)["executed"] == 0


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_changed_arguments_void_a_decision_that_has_not_left(on: Stage) -> None:
    run_id = on.start("the-mindra", "outbound-email")
    first = on.asked(run_id)[0]
    on.approve(first, undo_s=600)
    on.agents.arm("changed-input", run=on.run(run_id)["external_id"])
    assert on.becomes(first["id"], "superseded")["decision"] is None
    second = on.asked(run_id)[0]
    assert second["id"] != first["id"]
    assert second["input_sha256"] != first["input_sha256"]
    stale = on.decide(first, "approve")
    assert (stale.status_code, stale.json()["code"]) == (409, "input_changed")
    stale = on.decide({**second, "input_sha256": first["input_sha256"]}, "approve")
    assert (stale.status_code, stale.json()["code"]) == (409, "input_changed")
    on.approve(second)
    on.becomes(second["id"], "delivered")
    assert on.did(second) == (1, 0, 1, 0)
    assert on.ended(run_id)["outcome"] == "completed"
    assert on.request(first["id"])["status"] == "superseded"


def test_an_ag_ui_agent_that_asks_again_with_changed_arguments_is_asked_about_anew(on: Stage) -> None:
    run_id = on.start("the-agui", "outbound-email", faults="fault:changed-input,on=decision")
    first = on.asked(run_id)[0]
    on.approve(first)
    row = on.becomes(first["id"], "refused_by_provider", "stale")
    second = on.asked(on.run(run_id)["continued_by"])[0]
    assert second["input_sha256"] != first["input_sha256"]
    assert row["decision"]["verdict"] == "approve"
    on.approve(second)
    on.becomes(second["id"], "delivered")
    assert on.did(first)[2:] == (0, 0)
    assert on.did(second)[2:] == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_nobody_answers_expires_and_is_not_refused(on: Stage, kind: str) -> None:
    run_id = on.start(f"the-{kind}", "access-grant", faults="fault:expires=3")
    asked = eventually(lambda: on.requests(run_id), why="it asks, however soon it expires")[0]
    assert (asked["deadline"] is not None) == (kind == "agui")  # Mindra tells nobody
    row = on.becomes(asked["id"], "expired")
    assert row["decision"] is None
    late = on.decide(asked, "approve")
    assert (late.status_code, late.json()["code"]) == (409, "not_pending")
    assert on.ended(run_id)["outcome"] in ("completed", "success")
    assert on.did(asked) == (0, 0, 0, 1)


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_killed_emulator_goes_on_with_what_was_asked(on: Stage, tmp_path: Path) -> None:
    runs: dict[str, str] = {}
    with emulator("all", state=tmp_path) as agents:
        for kind, base_url in (("mindra", agents.mindra), ("agui", agents.agent)):
            runs[kind] = on.start(on.provider(f"killed-{kind}", kind, base_url), "outbound-email")
        before = {kind: on.asked(run_id)[0] for kind, run_id in runs.items()}
        agents.kill()
    on.approve(before["mindra"])
    row = eventually(lambda: (one := on.request(before["mindra"]["id"]))["delivery"]["last_error"] and one)
    assert row["status"] == "deciding", "nothing was sent to a provider that is not there"
    with emulator("all", state=tmp_path, port=agents.port) as agents:
        on.approve(before["agui"])
        for kind, run_id in runs.items():
            on.becomes(before[kind]["id"], "delivered")
            on.ended(run_id)
            assert on.effect(before[kind], agents)["executed"] == 1
            assert len(on.requests(run_id)) == 1
            assert {"gap", "divergence"}.isdisjoint(on.remarks(run_id))


def test_a_decision_survives_a_kill_within_its_undo_window(on: Stage) -> None:
    runs = [on.start(f"the-{kind}", "outbound-email") for kind in KINDS]
    rows = [on.asked(run_id)[0] for run_id in runs]
    for row in rows:
        on.approve(row, undo_s=2)
    on.house.kill()
    on.restart()
    for row in rows:
        on.becomes(row["id"], "delivered")
        assert on.did(row) == (1, 0, 1, 0)


def test_the_server_ends_in_time_while_streams_are_held_and_a_decision_is_out(on: Stage) -> None:
    held = [on.start("the-mindra", "refund") for _ in range(3)]
    on.agents.arm("stall", on="decision", kind="agui", after=1, times=1)
    busy = on.asked(on.start("the-agui", "refund"))[0]
    for run_id in held:
        on.asked(run_id)
    on.approve(busy)
    on.becomes(busy["id"], "sent")
    assert on.house.stop() == 0
    assert "the drain took longer" not in on.house.log.read_text(), "it ends by itself within its limit"
    on.agents.disarm()
    on.restart()
    assert on.becomes(busy["id"], "unknown")["delivery"]["attempts"] == 1
    assert all(len(on.asked(run_id)) == 1 for run_id in held)
    assert on.did(busy) == (1, 0, 1, 0)


def test_the_audit_chain_holds_after_all_of_it(on: Stage) -> None:
    on.house.command("audit", "verify")
    assert approvals(on.api)
    assert httpx.get(f"{on.house.url}/health/ready", trust_env=False, timeout=PATIENT_S).status_code == 200
