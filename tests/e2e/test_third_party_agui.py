"""Countersign against a real third-party AG-UI server, pydantic-ai: what its tools count is what people decided."""

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.countersign import PATIENT_S, ROOT, eventually
from tests.e2e.stage import Row, Stage

pytestmark = pytest.mark.process

START_S = 180.0
EMAIL = {"to": "ana@shop.example", "subject": "Invoice", "body": "Hello Ana,\nhere it is. 🤖"}
DELETION = {"table": "orders", "where": "id = 7"}


@dataclass
class Agent:
    """A running server, and what it says of itself."""

    url: str

    def effects(self) -> list[Row]:
        """Every call of a gated tool that really ran."""
        return list(self._told()["effects"])

    def posts(self, thread_id: str) -> list[Row]:
        """The inputs that arrived on a thread."""
        return [post for post in self._told()["posts"] if post["threadId"] == thread_id]

    def resumes(self, thread_id: str) -> list[list[Row]]:
        """The answers among them."""
        return [post["resume"] for post in self.posts(thread_id) if post["resume"]]

    def release(self) -> None:
        httpx.post(f"{self.url}release", trust_env=False, timeout=PATIENT_S).raise_for_status()

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = (
            httpx.get(f"{self.url}effects", trust_env=False, timeout=PATIENT_S).raise_for_status().json()
        )
        return told


@contextmanager
def serving() -> Iterator[Agent]:
    """Start `python -m tests.agui_server`, and end it."""
    process = subprocess.Popen([sys.executable, "-m", "tests.agui_server"], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline().decode().strip() if ready else ""
        assert line.startswith("AG-UI: "), line
        yield Agent(line.removeprefix("AG-UI: "))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def server(on: Stage) -> Iterator[Agent]:
    """The server, known to Countersign as `third-party`."""
    with serving() as agent:
        on.provider("third-party", "agui", agent.url)
        yield agent


@pytest.fixture
def agent(server: Agent) -> Iterator[Agent]:
    """The server with nothing counted yet: a test looks only at what it caused."""
    before = len(server.effects())

    class Counted(Agent):
        def effects(self) -> list[Row]:
            return super().effects()[before:]

    yield Counted(server.url)


def start(on: Stage, task: str) -> str:
    answer = on.api.post("runs", json={"provider": "third-party", "task": task})
    assert answer.status_code == 201, answer.text
    run_id: str = answer.json()["id"]
    return run_id


def thread(on: Stage, run_id: str) -> str:
    return str(on.run(run_id)["thread_id"])


def results(on: Stage, run_id: str) -> str:
    """What the agent said of its tools' results, over the whole chain."""
    payloads = [row["data"] for run in on.chain(run_id) for row in on.events(run["id"], kind="TOOL_CALL_RESULT")]
    return "\n".join(payloads)


def test_a_run_that_needs_nobody_finishes_by_itself(on: Stage, agent: Agent) -> None:
    run_id = on.house.start_run("third-party", "Say hello")
    row = on.ended(run_id)
    assert (row["outcome"], row["continued_by"], row["thread_id"] is not None) == ("success", None, True)
    assert on.requests(run_id) == []
    assert agent.effects() == []


def test_a_gated_tool_runs_only_after_approval_and_once(on: Stage, agent: Agent) -> None:
    run_id = on.house.start_run("third-party", "Send the e-mail")
    asked = on.asked(run_id)[0]
    assert (asked["tool_name"], asked["tool_input"]) == ("send_email", EMAIL)
    assert asked["batch"] == {"id": asked["batch"]["id"], "open": 1, "total": 1}
    assert on.run(run_id)["status"] == "waiting"
    assert agent.effects() == []
    assert len(agent.posts(thread(on, run_id))) == 1
    on.approve(asked)
    twice = [on.decide(asked, "approve"), on.decide(asked, "reject")]
    assert [(answer.status_code, answer.json()["code"]) for answer in twice] == [(409, "already_decided")] * 2
    assert twice[0].json()["decision"]["verdict"] == "approve"
    on.becomes(asked["id"], "delivered")
    first, second = on.chain(run_id) if on.ended(run_id) else []
    assert (first["status"], first["outcome"]) == ("finished", "continued")
    assert (second["status"], second["outcome"]) == ("finished", "success")
    assert (second["continues"], first["continued_by"]) == (first["id"], second["id"])
    assert second["thread_id"] == first["thread_id"]
    assert second["external_id"] != first["external_id"]
    assert agent.effects() == [{"tool": "send_email", "arguments": EMAIL}]
    assert len(agent.resumes(thread(on, run_id))) == 1
    assert "sent to ana@shop.example" in results(on, run_id)


def test_a_rejected_tool_never_runs_and_the_agent_hears_why(on: Stage, agent: Agent) -> None:
    run_id = start(on, "Send the e-mail")
    asked = on.asked(run_id)[0]
    on.reject(asked, reason="Not to Ana, and not today.")
    on.becomes(asked["id"], "delivered")
    assert on.ended(run_id)["outcome"] == "success"
    assert agent.effects() == []
    assert len(agent.resumes(thread(on, run_id))) == 1
    heard = "Not to Ana, and not today." in results(on, run_id)
    assert heard == asked["can"]["reason"]
    assert heard


def test_the_tool_gets_exactly_the_edited_arguments(on: Stage, agent: Agent) -> None:
    run_id = start(on, "Send the e-mail")
    asked = on.asked(run_id)[0]
    assert asked["can"]["edit"]
    edited = {
        "to": "bo@shop.example",
        "subject": "Ünïcode \u202e\U0001f600",
        "body": 'line\nline\t"quoted" \\ </script>',
    }
    on.approve(asked, edited_input=edited)
    on.becomes(asked["id"], "delivered")
    on.ended(run_id)
    assert agent.effects() == [{"tool": "send_email", "arguments": edited}]


def test_a_decision_that_is_undone_sends_nothing(on: Stage, agent: Agent) -> None:
    run_id = start(on, "Send the e-mail")
    asked = on.asked(run_id)[0]
    on.approve(asked, undo_s=600)
    assert on.request(asked["id"])["status"] == "held"
    on.api.delete(f"approvals/{asked['id']}/decision").raise_for_status()
    again = on.request(asked["id"])
    assert (again["status"], again["decision"]) == ("pending", None)
    assert agent.resumes(thread(on, run_id)) == []
    on.reject(again)
    on.becomes(asked["id"], "delivered")
    assert agent.effects() == []


@pytest.mark.parametrize("verdicts", [("approve", "approve"), ("approve", "reject"), ("reject", "reject")])
def test_two_parallel_calls_are_answered_together_in_one_post(
    on: Stage, agent: Agent, verdicts: tuple[str, str]
) -> None:
    run_id = start(on, "Send the e-mail and delete the order")
    asked = {row["tool_name"]: row for row in on.asked(run_id, 2)}
    email, deletion = asked["send_email"], asked["delete_records"]
    assert {row["batch"]["id"] for row in asked.values()} == {email["batch"]["id"]}
    assert email["batch"] | {"id": ""} == {"id": "", "open": 2, "total": 2}
    assert on.decide(email, verdicts[0], reason="one").status_code == 202
    assert on.request(email["id"])["status"] == "held"
    assert on.request(deletion["id"])["batch"]["open"] == 1
    # A run that needs nobody goes its whole way meanwhile: what could have left by then, has not.
    on.ended(start(on, "Say hello"))
    assert on.request(email["id"])["status"] == "held"
    assert agent.resumes(thread(on, run_id)) == []
    assert on.decide(deletion, verdicts[1], reason="two").status_code == 202
    for row in asked.values():
        on.becomes(row["id"], "delivered")
    assert on.ended(run_id)["outcome"] == "success"
    (resume,) = agent.resumes(thread(on, run_id))
    assert len(resume) == 2
    assert {entry["status"] for entry in resume} == {"resolved"}
    calls = [("send_email", EMAIL), ("delete_records", DELETION)]
    wanted = [
        {"tool": tool, "arguments": arguments}
        for (tool, arguments), verdict in zip(calls, verdicts, strict=True)
        if verdict == "approve"
    ]
    assert sorted(agent.effects(), key=lambda one: str(one["tool"])) == sorted(wanted, key=lambda one: str(one["tool"]))


def test_a_kill_while_the_tool_is_at_work_leaves_the_decision_unknown_and_the_tool_done_once(
    on: Stage, agent: Agent
) -> None:
    run_id = start(on, "Make the transfer")
    asked = on.asked(run_id)[0]
    on.approve(asked)
    eventually(agent.effects, why="the tool has begun")
    assert on.request(asked["id"])["status"] == "sent"
    on.house.kill()
    on.restart()
    row = on.becomes(asked["id"], "unknown")
    assert row["delivery"] | {"last_error": ""} == {"state": "unknown", "attempts": 1, "last_error": ""}
    agent.release()
    again = on.decide(asked, "approve")
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert [run["status"] for run in on.chain(run_id)][-1] == "truncated"
    # A later decision is carried from beginning to end: whatever the restart would have sent again has gone by then.
    later = on.asked(start(on, "Send the e-mail"))[0]
    on.approve(later)
    on.becomes(later["id"], "delivered")
    assert [one["tool"] for one in agent.effects()] == ["transfer_money", "send_email"]
    assert len(agent.resumes(thread(on, run_id))) == 1
    assert on.request(asked["id"])["status"] == "unknown"


def test_a_kill_right_after_the_decision_never_runs_the_tool_twice(on: Stage, agent: Agent) -> None:
    runs = [start(on, "Send the e-mail") for _ in range(4)]
    asked = [on.asked(run_id)[0] for run_id in runs]
    for row in asked:
        on.approve(row)
    on.house.kill()
    on.restart()
    statuses = [on.becomes(row["id"], "delivered", "unknown")["status"] for row in asked]
    posts = [len(agent.resumes(thread(on, run_id))) for run_id in runs]
    assert max(posts) <= 1
    assert all(post == 1 for post, status in zip(posts, statuses, strict=True) if status == "delivered")
    assert statuses.count("delivered") <= len(agent.effects()) <= sum(posts)
