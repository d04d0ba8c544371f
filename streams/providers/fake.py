"""An adapter for tests: plays whatever script a test's own server sends, with the capabilities the test wants.

Kinds: `ask` (`{id, tool, input}`) pauses, `paused` closes the exchange, `done` (`{how}`) ends, `begun` names the run
(`{run, thread}`), `broken` breaks its contract; anything else is text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from streams import jsontext
from streams.errors import WireError
from streams.events import Asked, Broken, Ended, Fact, Line, Paused, Started
from streams.providers.base import Account, Answer, Applied, Begun, Call, Capabilities, Carried, Plain, Refusal, RunView
from streams.sse import Frame

CAPABILITIES = Capabilities(
    edit=False,
    reason=True,
    ask=False,
    cancel_run=False,
    batch=False,
    answer_streams=False,
    idempotent_decision=False,
    read_back=False,
    replay="unknown",
    replay_exact=True,
    repeatable_start=False,
    stall_s=60.0,
    stall_waiting_s=600.0,
    watch=True,
    needs_workflow=False,
    needs_task=False,
)


@dataclass(frozen=True, slots=True)
class State:
    """How many frames came, and the last of them."""

    frames: int = 0
    last: str = ""


class Fake(Plain):
    """`Fake(replay="none")` is one whose start is its stream."""

    label = "Fake"

    def __init__(self, kind: str = "fake", **capabilities: Any) -> None:
        self.kind = kind
        self.capabilities = replace(CAPABILITIES, **capabilities)

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        return {}

    def start_call(self, account: Account, run: RunView) -> Call:
        streams = self.capabilities.replay == "none"
        body = json.dumps({"task": run.task}).encode()
        return Call("POST", f"{account.base_url}/start", _key(account), body, streams=streams)

    def read_start(self, account: Account, body: bytes) -> Begun:
        try:
            return Begun(external_id=json.loads(body)["id"])
        except (ValueError, LookupError, TypeError) as exc:
            raise WireError("no id") from exc

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        url = f"{account.base_url}/stream/{run.external_id}"
        return Call("GET", url, _key(account), repeatable=True, streams=True)

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> State:
        return State()

    def kind_of(self, frame: Frame) -> str:
        return frame.event

    def step(self, state: State, frame: Frame) -> tuple[State, tuple[Fact, ...]]:
        return State(state.frames + 1, frame.data), self._facts(frame)

    def _facts(self, frame: Frame) -> tuple[Fact, ...]:
        said = json.loads(frame.data) if frame.event in ("ask", "done", "begun") else {}
        match frame.event:
            case "ask":
                return Asked(said["id"], said["tool"], jsontext.dumps(said["input"])), Paused()
            case "paused":
                return (Paused(closed=True),)
            case "done":
                return (Ended(said["how"]),)
            case "begun":
                return (Started(said["run"], said["thread"]),)
            case "broken":
                return (Broken("a test said so"),)
        return ()

    def at_eof(self, state: State) -> tuple[Fact, ...]:
        return ()

    def dump(self, state: State) -> str:
        return json.dumps(asdict(state))

    def load(self, text: str) -> State:
        return State(**json.loads(text))

    def identity(self, kind: str, sha256: str) -> str:
        return f"{kind} {sha256}"

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        body = json.dumps([[answer.question.call_id, answer.verdict] for answer in answers]).encode()
        return Call("POST", f"{account.base_url}/answer", _key(account), body, streams=bool(new_run_id))

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        return Refusal("", body.decode("utf-8", "replace")[:200])

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        return None

    def not_accepted(self, error: str) -> bool:
        return False

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        return (Line("note", payload, label=kind),)


def _key(account: Account) -> dict[str, str]:
    return {"x-api-key": account.secret} if account.secret else {}
