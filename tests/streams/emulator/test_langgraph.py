"""The emulated LangGraph platform, by a client written from the wire: threads, interrupts, answers by id, faults."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.emulator import Emulator, emulator

LIMIT_S = 30.0


class Client:
    """Start, read, answer."""

    def __init__(self, agents: Emulator) -> None:
        self.agents, self.thread = agents, str(uuid.uuid4())
        self.http = httpx.Client(base_url=f"{agents.langgraph}/threads", timeout=LIMIT_S, trust_env=False, verify=False)

    def start(self, task: str, **more: Any) -> httpx.Response:
        asked = {"messages": [{"role": "user", "content": task}]}
        body = {"assistant_id": "agent", "input": asked, "if_not_exists": "create", **more}
        return self.http.post(f"/{self.thread}/runs", json=body)

    def resume(self, value: Any) -> httpx.Response:
        return self.http.post(f"/{self.thread}/runs", json={"assistant_id": "agent", "command": {"resume": value}})

    def state(self) -> Any:
        return self.http.get(f"/{self.thread}/state").json()

    def until(self, fits: Callable[[Any], Any]) -> Any:
        until = time.monotonic() + LIMIT_S
        while not fits(state := self.state()):
            assert time.monotonic() < until, state
            time.sleep(0.01)
        return state

    def waiting(self, count: int = 1) -> list[Any]:
        found: list[Any] = self.until(lambda state: len(state["interrupts"]) == count)["interrupts"]
        return found

    def bytes(self, enough: bytes, last: str = "0-0") -> bytes:
        """The stream up to some text."""
        came = b""
        with self.http.stream("GET", f"/{self.thread}/stream", headers={"last-event-id": last}) as answer:
            for chunk in answer.iter_raw():
                came += chunk
                if enough in came:
                    return came
        return came

    def executed(self) -> list[int]:
        return [row["executed"] for row in self.agents.effects(run=self.thread)]


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("langgraph") as one:
        yield one


@pytest.fixture
def client(agents: Emulator) -> Iterator[Client]:
    made = Client(agents)
    yield made
    made.http.close()
    agents.disarm()


YES = {"decisions": [{"type": "approve"}]}


def test_a_pause_is_crlf_with_the_id_behind_and_then_run_done(client: Client) -> None:
    assert client.start("refund").json()["thread_id"] == client.thread
    came = client.bytes(b"run_done")
    assert b'event: updates\r\ndata: {"__interrupt__":[{"value":{"action_requests":[' in came
    assert b"\r\nid: " in came
    assert [one["id"] for one in client.waiting()] == [client.agents.pending(run=client.thread)[0]["approval"]]


def test_an_answer_by_its_id_runs_the_call_once_and_a_repeat_is_no_error(client: Client) -> None:
    client.start("refund")
    (asked,) = client.waiting()
    assert client.resume({asked["id"]: YES}).status_code == 200
    client.until(lambda state: state["next"] == [])
    assert client.resume({asked["id"]: YES}).status_code == 200
    assert client.executed() == [1]


def test_an_unknown_key_runs_nothing_and_is_asked_again(client: Client) -> None:
    client.start("refund")
    (asked,) = client.waiting()
    assert client.resume({"0" * 32: YES}).status_code == 200
    assert client.waiting() == [asked]
    assert client.executed() == [0]


def test_a_malformed_answer_sticks_the_thread(client: Client) -> None:
    client.start("refund")
    (asked,) = client.waiting()
    client.resume({asked["id"]: {"approved": True}})
    state = client.until(lambda state: state["tasks"][0]["error"])
    assert [one["id"] for one in state["interrupts"]] == [asked["id"]]
    assert client.executed() == [0]


def test_one_interrupt_a_call_where_that_is_asked_for_two_of_one_moment(client: Client) -> None:
    client.start("account-deletion fault:question-form=percall")
    first, second = client.waiting(2)
    assert first["value"]["type"] == "tool_approval"
    assert first["response_schema"]["oneOf"]
    ids = [line for line in client.bytes(b"run_done").split(b"\r\n\r\n") if b"__interrupt__" in line]
    assert ids[0].rpartition(b"id: ")[2] == ids[1].rpartition(b"id: ")[2]
    client.resume({first["id"]: {"type": "reject", "message": "no"}})
    assert client.waiting() == [second]


def test_a_question_of_the_authors_own(client: Client) -> None:
    client.start("refund fault:question-form=own")
    (asked,) = client.waiting()
    assert set(asked["value"]) == {"tool", "args"}
    assert asked["response_schema"] is None


def test_new_input_drops_what_waits(client: Client) -> None:
    client.start("refund")
    client.waiting()
    assert client.start("something else").status_code == 200
    client.until(lambda state: state["next"] == [])
    assert client.executed() == [0]


def test_threads_that_are_not_there(client: Client) -> None:
    assert client.http.get(f"/{client.thread}/state").status_code == 404
    assert client.resume({}).status_code == 404
    assert client.http.post("/not-a-uuid/runs", json={"assistant_id": "a"}).status_code == 422
    client.start("refund")
    assert client.http.get(f"/{client.thread}/stream", headers={"last-event-id": "x"}).status_code == 422


def test_a_stream_goes_on_behind_an_id(client: Client) -> None:
    client.start("refund")
    client.waiting()
    whole = client.bytes(b"run_done")
    last = whole.split(b"id: ")[1].partition(b"\r\n")[0].decode()
    assert whole.endswith(client.bytes(b"run_done", last))


@pytest.mark.parametrize("fault", ["status=503,on=start", "effect-then-drop,on=start", "drop-before-effect,on=start"])
def test_starts_that_go_wrong(client: Client, fault: str) -> None:
    try:
        assert client.start(f"refund fault:{fault}").status_code == 503
    except httpx.TransportError:
        pass
    assert len(client.agents.runs(run=client.thread)) == ("effect-then" in fault)
