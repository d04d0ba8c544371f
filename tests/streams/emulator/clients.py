"""Three small clients, written from the contracts and not from the emulator."""

import json
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from tests.emulator import Emulator

T = TypeVar("T")
LIMIT_S = 15.0


@dataclass(frozen=True)
class Frame:
    event: str
    data: str
    id: str = ""

    def json(self) -> Any:
        return json.loads(self.data)


def blocks(chunks: Iterator[bytes]) -> Iterator[Frame]:
    """Split an LF stream into frames, as they come. A block without its blank line is none."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while b"\n\n" in rest:
            block, _, rest = rest.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":"))
            if fields:
                yield Frame(fields.get("event", "message"), fields["data"], fields.get("id", ""))


class _Client:
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.http = httpx.Client(timeout=LIMIT_S, trust_env=False, verify=False, headers={"x-api-key": "key-for-tests"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.http.close()


class MindraClient(_Client):
    """Start, stream, decide."""

    def start(self, task: str = "", workflow: str = "outbound-email") -> str:
        answer = self.http.post(f"{self.emulator.mindra}/v1/workflows/{workflow}/run", json={"task": task})
        answer.raise_for_status()
        run: str = answer.json()["execution_id"]
        return run

    def url(self, run: str) -> str:
        return f"{self.emulator.mindra}/api/v1/workflows/execute/{run}/stream"

    def stream(self, run: str, *, until: str = "", **headers: str) -> list[Frame]:
        """The frames up to the first of a kind, or to the end of the stream."""
        return list(self.follow(run, until=until, **headers))

    def follow(self, run: str, *, until: str = "", **headers: str) -> Generator[Frame, None, None]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.http.stream("GET", self.url(run), headers=named) as answer:
            assert answer.status_code == 200, answer.status_code
            for frame in blocks(answer.iter_raw()):
                yield frame
                if frame.event == until:
                    return

    def raw(self, run: str, *, enough: Callable[[bytes], bool] = lambda data: False) -> bytes:
        """The bytes of the stream until they are enough, or it ends or breaks."""
        data = b""
        try:
            with self.http.stream("GET", self.url(run)) as answer:
                for chunk in answer.iter_raw():
                    data += chunk
                    if enough(data):
                        break
        except httpx.TransportError:
            pass
        return data

    def asked(self, run: str) -> dict[str, Any]:
        """Read up to the first request that is open, and give it."""
        waiting = wait_for(lambda: self.emulator.pending(run=run))
        return waiting[0]

    def decide(self, run: str, approval: str, verdict: str, reason: str | None = None) -> httpx.Response:
        body = {} if reason is None else {"reason": reason}
        return self.http.post(f"{self.emulator.mindra}/v1/workflows/execute/{run}/{verdict}/{approval}", json=body)


class MiddeskClient(_Client):
    """Start, stream, read, resume. The default business is any."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self.http.headers["authorization"] = "Bearer mk_test_key"
        self.base = f"{emulator.middesk}/v1"

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(f"{self.base}/{path}", json=body)

    def start(self, agent: str = "watchlist_resolution", **more: Any) -> str:
        """A run; faults may follow the agent's type."""
        body = {"type": agent, "business_id": "5b1e0000-0000-4000-8000-000000000001", **more}
        answer = self.post("runs", body)
        assert answer.status_code == 201, answer.text
        run: str = answer.json()["id"]
        return run

    def url(self, run: str) -> str:
        return f"{self.base}/runs/{run}/stream"

    def stream(self, run: str) -> list[Frame]:
        return list(self.follow(run))

    def follow(self, run: str) -> Generator[Frame, None, None]:
        with self.http.stream("GET", self.url(run)) as answer:
            assert answer.status_code == 200, answer.status_code
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield from blocks(answer.iter_raw())

    def raw(self, run: str) -> bytes:
        """The bytes of the stream until it ends or breaks."""
        data = b""
        try:
            with self.http.stream("GET", self.url(run)) as answer:
                for chunk in answer.iter_raw():
                    data += chunk
        except httpx.TransportError:
            pass
        return data

    def read(self, run: str, *, steps: bool = False) -> Any:
        answer = self.http.get(f"{self.base}/runs/{run}", params={"include": "steps"} if steps else {})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def asked(self, run: str) -> dict[str, Any]:
        """The run's first open interrupt, once there is one."""
        found: dict[str, Any] = wait_for(lambda: self.read(run)["interrupts"])[0]
        return found

    def resume(self, run: str, interrupt: str, decision: str = "approve", note: str = "") -> httpx.Response:
        body = {"interrupt_id": interrupt, "input": {"decision": decision, "note": note}}
        return self.post(f"runs/{run}/resume", body)

    def ended(self, run: str) -> Any:
        """The run once it is over."""
        return wait_for(lambda: r if (r := self.read(run))["status"] in ("completed", "error") else None)


@dataclass
class Thread:
    """What a consumer keeps of a thread."""

    id: str = field(default_factory=lambda: f"thread-{secrets.token_hex(6)}")
    messages: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    state: Any = field(default_factory=dict)
    run: str = ""

    @property
    def interrupts(self) -> list[dict[str, Any]]:
        last = self.events[-1] if self.events else {}
        found: list[dict[str, Any]] = last.get("outcome", {}).get("interrupts", [])
        return found

    def arguments(self, call_id: str) -> str:
        return "".join(e["delta"] for e in self.events if e["type"] == "TOOL_CALL_ARGS" and e["toolCallId"] == call_id)


class AgUiClient(_Client):
    """Runs on a thread."""

    def start(self, task: str, thread: Thread | None = None, **extra: Any) -> Thread:
        thread = thread or Thread()
        thread.messages.append({"id": f"m{len(thread.messages)}", "role": "user", "content": task})
        return self.post(thread, **extra)

    def post(self, thread: Thread, **extra: Any) -> Thread:
        """One run; its events replace those of the last one."""
        thread.events = []
        for event in self.follow(thread, **extra):
            thread.events.append(event)
            if event["type"] == "MESSAGES_SNAPSHOT":
                thread.messages = event["messages"]
            elif event["type"] == "STATE_SNAPSHOT":
                thread.state = event["snapshot"]
        return thread

    def body(self, thread: Thread, **extra: Any) -> dict[str, Any]:
        thread.run = f"run-{secrets.token_hex(6)}"
        always: dict[str, Any] = {"tools": [], "context": [], "forwardedProps": {}, "state": thread.state}
        ids = {"threadId": thread.id, "runId": thread.run, "protocolVersion": "1.0"}
        return {**ids, **always, "messages": thread.messages, **extra}

    def follow(self, thread: Thread, **extra: Any) -> Iterator[dict[str, Any]]:
        with self.http.stream("POST", self.emulator.agent, json=self.body(thread, **extra)) as answer:
            assert answer.status_code == 200, answer.status_code
            assert answer.headers["content-type"].startswith("text/event-stream")
            for frame in blocks(answer.iter_raw()):
                yield frame.json()

    def answer(self, thread: Thread, *payloads: Any, **extra: Any) -> Thread:
        """Answer each open interrupt with a payload, in order."""
        pairs = zip(thread.interrupts, payloads, strict=True)
        resume = [{"interruptId": i["id"], "status": "resolved", "payload": payload} for i, payload in pairs]
        return self.post(thread, resume=resume, **extra)

    def broken(self, thread: Thread, **extra: Any) -> list[dict[str, Any]]:
        """The events of a run whose connection breaks."""
        thread.events = []
        try:
            for event in self.follow(thread, **extra):
                thread.events.append(event)
        except httpx.TransportError:
            return thread.events
        raise AssertionError("the stream ended cleanly")


def wait_for(look: Callable[[], T]) -> T:
    """Look until there is something."""
    until = time.monotonic() + LIMIT_S
    while not (found := look()):
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.01)
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def named(frames: list[Frame]) -> list[str]:
    return [frame.event for frame in frames]


def row(rows: list[dict[str, Any]], **match: object) -> Mapping[str, Any]:
    """The one row that matches."""
    (found,) = [r for r in rows if all(r[key] == value for key, value in match.items())]
    return found
