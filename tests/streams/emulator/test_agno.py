"""The emulated Agno AgentOS, by a client written from the wire: forms, pauses, joining, continuing, faults."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.emulator import Emulator, emulator

LIMIT_S = 30.0


class Client:
    """Start, join, read, continue."""

    def __init__(self, agents: Emulator) -> None:
        self.agents, self.run, self.session = agents, "", "session-1"
        self.http = httpx.Client(base_url=f"{agents.agno}/agents/desk", timeout=LIMIT_S, trust_env=False, verify=False)

    def start(self, task: str) -> list[Any]:
        told = self.post("/runs", message=task, session_id=self.session, stream="true", background="true")
        self.run = told[0]["run_id"]
        return told

    def post(self, path: str, **form: str) -> list[Any]:
        answer = self.http.post(path, data=form)
        answer.raise_for_status()
        return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]

    def join(self, **form: str) -> list[Any]:
        return self.post(f"/runs/{self.run}/resume", session_id=self.session, **form)

    def go_on(self, tools: Any) -> list[Any]:
        return self.post(f"/runs/{self.run}/continue", session_id=self.session, tools=json.dumps(tools), stream="true")

    def read(self) -> Any:
        return self.http.get(f"/runs/{self.run}", params={"session_id": self.session}).json()

    def until(self, fits: Callable[[Any], Any]) -> Any:
        until = time.monotonic() + LIMIT_S
        while not fits(found := self.read()):
            assert time.monotonic() < until, found
            time.sleep(0.01)
        return found

    def executed(self) -> list[int]:
        return [row["executed"] for row in self.agents.effects(run=self.run)]


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("agno") as one:
        yield one


@pytest.fixture
def client(agents: Emulator) -> Iterator[Client]:
    made = Client(agents)
    yield made
    made.http.close()
    agents.disarm()


def paused(client: Client, task: str) -> list[Any]:
    """The tools of a run's first pause, once the run itself says that it waits."""
    tools: list[Any] = client.start(task)[-1]["tools"]
    client.until(lambda run: run["status"] == "PAUSED")
    return tools


def test_a_stream_closes_at_its_pause_and_every_event_has_its_place(client: Client) -> None:
    told = client.start("refund")
    assert (told[0]["event"], told[-1]["event"]) == ("RunStarted", "RunPaused")
    assert [one["event_index"] for one in told] == list(range(len(told)))
    assert [one["confirmed"] for one in told[-1]["tools"]] == [None]


def test_joining_says_replay_and_then_what_was_missed(client: Client) -> None:
    paused(client, "refund")
    first, *rest = client.join()
    assert (first["event"], first["status"]) == ("replay", "PAUSED")
    after = [one["event_index"] for one in client.join(last_event_index="1")[1:]]
    assert after == [one["event_index"] for one in rest][2:]


def test_a_yes_runs_the_call_and_the_run_goes_on_under_its_id(client: Client) -> None:
    (tool,) = paused(client, "refund")
    told = client.go_on([{**tool, "confirmed": True}])
    assert {one["run_id"] for one in told} == {client.run}
    assert [one["event"] for one in told][0] == "RunContinued"
    assert client.until(lambda run: run["status"] == "COMPLETED")["tools"][0]["confirmed"] is True
    assert client.executed() == [1]


def test_changed_arguments_are_what_runs(client: Client) -> None:
    (tool,) = paused(client, "refund")
    told = client.go_on([{**tool, "confirmed": True, "tool_args": {"order": "9"}}])
    (began,) = [one for one in told if one["event"] == "ToolCallStarted"]
    assert began["tool"]["tool_args"] == {"order": "9"}


def test_an_omitted_tool_counts_as_refused(client: Client) -> None:
    first, _ = paused(client, "account-deletion")
    client.go_on([{**first, "confirmed": True}])
    assert client.executed()[:2] == [1, 0]


def test_a_late_yes_to_what_was_refused_still_runs_it(client: Client) -> None:
    (tool,) = paused(client, "refund")
    client.go_on([{**tool, "confirmed": False}])
    client.until(lambda run: run["status"] == "COMPLETED")
    assert client.executed() == [0]
    client.go_on([{**tool, "confirmed": True}])
    assert client.executed() == [1]


def test_runs_that_are_not_there(client: Client) -> None:
    client.run = "nobody"
    assert client.join()[0]["event"] == "error"
    assert client.http.get("/runs/nobody", params={"session_id": "s"}).status_code == 404
    assert client.go_on([])[0]["event"] == "RunError"
    assert client.http.post("/runs/x/continue", data={"tools": "{", "session_id": "s"}).status_code == 400
    assert client.http.post("/runs", data={}).status_code == 422


@pytest.mark.parametrize("fault", ["status=503,on=start", "drop-before-effect,on=start"])
def test_starts_that_go_wrong(client: Client, fault: str) -> None:
    with pytest.raises((httpx.TransportError, httpx.HTTPStatusError)):
        client.start(f"refund fault:{fault}")
