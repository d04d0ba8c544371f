"""The LangGraph platform's wire: threads, their runs, one stream over all of them, and their state.

Source: langgraph-api 0.16.7 on loopback, 2026-11. CRLF lines, `id:` behind the data, two interrupts of one moment
under one id, a heartbeat every 5 s, answers keyed by interrupt, no error for a repeat, a thread that a malformed answer
stops.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from streams.emulator.faults import Fault, UnknownFault, in_text
from streams.emulator.http import Connection, Request
from streams.emulator.langgraph_agent import DECISIONS, INTERRUPT, Agent
from streams.emulator.scenarios import SCENARIOS
from streams.emulator.state import Approval, Frame, Run
from streams.emulator.teller import data, drop_after
from streams.emulator.wire import Sender, World, answer_fault

logger = logging.getLogger(__name__)

HEARTBEAT_S = 5.0


class LangGraph:
    """Threads go on by themselves; streams only show them. A thread's stream never ends."""

    kind = "langgraph"

    def __init__(self, world: World) -> None:
        self._world = world
        self._agents: set[asyncio.Task[None]] = set()
        self._errors: dict[str, str] = {}  # what a malformed answer did to a thread

    def offers(self) -> Sequence[dict[str, object]]:
        return [
            {"workflow": s.name, "task": s.task, "title": s.title, "asks": s.asks}
            for s in SCENARIOS.values()
            if self.kind in s.kinds
        ]

    def go_on(self) -> None:
        for run in self._world.state.of_kind(self.kind):
            if not run.ended:
                self._play(run)

    async def stop(self) -> None:
        for task in self._agents:
            task.cancel()
        await asyncio.gather(*self._agents, return_exceptions=True)

    def _play(self, run: Run) -> None:
        task = asyncio.create_task(Agent(self._world, run).play(), name=f"langgraph {run.id}")
        self._agents.add(task)
        task.add_done_callback(self._played)

    def _played(self, task: asyncio.Task[None]) -> None:
        self._agents.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            logger.error("%s: its agent failed", task.get_name(), exc_info=problem)

    # -- requests

    async def handle(self, request: Request, path: str, connection: Connection) -> None:
        """Dispatch. A local server takes any key, or none."""
        key = request.headers.get("x-api-key", "")
        if self._world.api_key and key != self._world.api_key:
            await self._refuse(connection, 403, "Invalid API key")
            return
        match request.method, path.strip("/").split("/"):
            case _, ["threads", thread_id, _] if not _is_uuid(thread_id):
                await self._refuse(connection, 422, "Invalid thread ID: must be a UUID")
            case "POST", ["threads", thread_id, "runs"]:
                await self._run(request, thread_id, connection)
            case "GET", ["threads", thread_id, "state"]:
                await self._state(request, thread_id, connection)
            case "GET", ["threads", thread_id, "stream"]:
                await self._stream(request, thread_id, connection)
            case _:
                await self._refuse(connection, 404, "Not Found")

    async def _refuse(self, connection: Connection, status: int, text: str) -> None:
        await connection.answer_json(status, _error(status, text))

    # -- runs

    async def _run(self, request: Request, thread_id: str, connection: Connection) -> None:
        try:
            body = request.json()
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("assistant_id"), str):
            await self._refuse(connection, 422, "Invalid request: assistant_id is required")
            return
        run = self._world.state.runs.get((self.kind, thread_id))
        if isinstance(body.get("command"), dict):
            await self._answer(request, run, body, connection)
        elif run is not None:
            await self._begin_again(run, body, connection)
        elif body.get("if_not_exists") != "create":
            await self._refuse(connection, 404, "Thread or assistant not found.")
        else:
            await self._start(request, thread_id, body, connection)

    async def _start(self, request: Request, thread_id: str, body: dict[str, Any], connection: Connection) -> None:
        world, task = self._world, _task(body.get("input"))
        try:
            own = world.refused_starts.setdefault(task, in_text(task))
        except UnknownFault as exc:
            await self._refuse(connection, 422, str(exc))
            return

        def take(name: str) -> Fault | None:
            return world.board.take(name, kind=self.kind, on="start", own=own)

        if await answer_fault(take, request, connection, refusal=lambda status: _error(status, "Not now.")):
            return
        world.refused_starts.pop(task, None)
        scenario, seed = world.choose(self.kind, wanted=body["assistant_id"], text=task)
        run = world.state.start_run(
            kind=self.kind,
            id=thread_id,
            scenario=scenario.name,
            seed=seed,
            task=task,
            thread=thread_id,
            subject=body["assistant_id"],
            faults=own,
        )
        self._play(run)
        await drop_after(world, run, "start", connection)
        await connection.answer_json(200, _made(run, body))

    async def _begin_again(self, run: Run, body: dict[str, Any], connection: Connection) -> None:
        """New input on a thread: what waits there is dropped without a word."""
        if run.status == "running" and body.get("multitask_strategy") == "reject":
            await self._refuse(connection, 409, "Thread is already running a task. Wait for it to finish.")
            return
        answers = [{"approval": one.id, "verdict": "void"} for one in run.approvals.values() if not one.verdict]
        if answers:
            self._world.state.record("settled", kind=self.kind, run=run.id, answers=answers)
        await connection.answer_json(200, _made(run, body))

    # -- answers

    async def _answer(self, request: Request, run: Run | None, body: dict[str, Any], connection: Connection) -> None:
        if run is None:
            await self._refuse(connection, 404, "Thread or assistant not found.")
            return
        world, resume = self._world, body["command"].get("resume")
        keyed = resume if isinstance(resume, dict) else {}
        for approval in run.approvals.values():  # what came is counted, whatever becomes of it
            if (decision := _decision(keyed.get(_interrupt(approval)), approval)) is not None:
                verdict = "reject" if decision.get("type") in ("reject", "respond") else "approve"
                world.state.record("received", kind=self.kind, run=run.id, approval=approval.id, verdict=verdict)
        if await answer_fault(
            lambda name: world.take(run, name, "decision"),
            request,
            connection,
            refusal=lambda status: _error(status, "Not now."),
        ):
            return
        self._resume(run, keyed)
        await drop_after(world, run, "decision", connection)
        await connection.answer_json(200, _made(run, body))

    def _resume(self, run: Run, keyed: dict[str, Any]) -> None:
        """A run of the platform that answers what it names, and asks the rest again."""
        teller = Agent(self._world, run)
        teller.frame("metadata", data(run_id=str(uuid.uuid4()), attempt=1), extra=True)
        waiting = [one for one in run.approvals.values() if not one.verdict]
        answers = []
        for approval in waiting:
            if _interrupt(approval) not in keyed:
                continue
            answer = _settled(keyed[_interrupt(approval)], approval, _count(run, approval), self._form(run, approval))
            if answer is None:
                self._poison(run, teller)
                return
            answers.append(answer)
        if answers:
            self._world.state.record("settled", kind=self.kind, run=run.id, answers=answers)
        left = dict.fromkeys(_interrupt(one) for one in waiting if not one.verdict)
        for name in left:
            teller.frame("updates", f'{{"{INTERRUPT}":[{_items(run)[name]}]}}', extra=True)
        if left or not answers:
            teller.frame("metadata", data(status="run_done", run_id=""), extra=True)

    def _form(self, run: Run, approval: Approval) -> str:
        item = _items(run)[_interrupt(approval)]
        return "percall" if '"tool_approval"' in item else "batched" if '"action_requests"' in item else "own"

    def _poison(self, run: Run, teller: Agent) -> None:
        """An answer that the agent does not understand: the thread is stuck from now on."""
        self._errors[run.id] = "KeyError('decisions')"
        teller.frame("metadata", data(status="run_done", run_id=""), extra=True)
        self._world.state.record("status", kind=self.kind, run=run.id, status="failed")

    # -- reading

    async def _state(self, request: Request, thread_id: str, connection: Connection) -> None:
        run = self._world.state.runs.get((self.kind, thread_id))
        if run is None:
            await self._refuse(connection, 404, f"Thread with ID {thread_id} not found")
            return
        if await answer_fault(
            lambda name: self._world.take(run, name, "read"),
            request,
            connection,
            refusal=lambda status: _error(status, "Not now."),
        ):
            return
        body = self._body(run).encode("utf-8", "surrogatepass")
        await connection.answer(200, body, content_type="application/json")

    def _body(self, run: Run) -> str:
        """Items and arguments go in as they are."""
        if not run.frames:
            return data(values={}, next=[], tasks=[], metadata=None, created_at=None, checkpoint=None, interrupts=[])
        waiting = dict.fromkeys(_interrupt(one) for one in run.approvals.values() if not one.verdict)
        shown = [item for name, item in _items(run).items() if name in waiting]
        error = self._errors.get(run.id, "") or ("AgentError('failed')" if run.status == "failed" else "")
        told = json.dumps(error or None)
        tasks = [f'{{"id":"task","name":"tools","error":{told},"interrupts":[{item}],"result":null}}' for item in shown]
        if error and not shown:
            tasks = [f'{{"id":"task","name":"tools","error":{told},"interrupts":[],"result":null}}']
        following = ["tools"] if shown or error else [] if run.ended else ["model"]
        at_ms, place = _checkpoint(run)
        metadata = {"assistant_id": run.subject, "thread_id": run.id, "run_id": ""}
        return (
            f'{{"values":{{}},"next":{json.dumps(following)},"tasks":[{",".join(tasks)}],'
            f'"metadata":{json.dumps(metadata)},"created_at":"{_stamp(at_ms)}",'
            f'"checkpoint":{{"checkpoint_id":"{run.id}-{place}","thread_id":"{run.id}"}},"interrupts":[{",".join(shown)}]}}'
        )

    async def _stream(self, request: Request, thread_id: str, connection: Connection) -> None:
        """From behind the id that is asked for; what is no id is refused. A thread that nobody knows is just silent."""
        run = self._world.state.runs.get((self.kind, thread_id))
        last = request.headers.get("last-event-id", "")
        if last and last != "-" and not last.replace("-", "", 1).isdigit():
            await self._refuse(connection, 422, "Invalid last-event-id: must be a valid Redis stream ID")
            return
        if run is None:
            await connection.open_stream()
            await connection.while_connected(_silence(connection))
            return
        if await answer_fault(
            lambda name: self._world.take(run, name, "stream"),
            request,
            connection,
            refusal=lambda status: _error(status, "Not now."),
        ):
            return
        run.connections += 1
        await connection.open_stream()
        await connection.while_connected(self._show(run, last, connection))

    async def _show(self, run: Run, last: str, connection: Connection) -> None:
        index = _after(run, last) if last else len(run.frames)
        sender = Sender(
            connection,
            lambda name: self._world.take(run, name, "stream"),
            big_frame=_big_frame,
            comment_s=HEARTBEAT_S,
            comment=b": heartbeat\r\n\r\n",
        )
        while True:
            news = run.news
            while index < len(run.frames):
                frame = run.frames[index]
                index += 1
                await sender.send(encode(frame, _ids(run)[index - 1]))
            await sender.wait(news)


# --- what lies where -------------------------------------------------------------------------------------------------


def encode(frame: Frame, frame_id: str) -> bytes:
    """A frame as the platform sends it: CRLF, and the id behind the data."""
    return f"event: {frame.event}\r\ndata: {frame.data}\r\nid: {frame_id}\r\n\r\n".encode("utf-8", "surrogatepass")


def _ids(run: Run) -> list[str]:
    """A number that grows with each moment; two interrupts in a row are of one moment."""
    ids, moment = [], int(run.at * 1000)
    for place, frame in enumerate(run.frames):
        twin = place and _asks(frame) and _asks(run.frames[place - 1])
        moment += not twin
        ids.append(f"{moment}-0")
    return ids


def _after(run: Run, last: str) -> int:
    """Index of the first frame behind an id."""
    if last == "-":
        return 0
    wanted = tuple(int(part or 0) for part in f"{last}-0".split("-")[:2])
    places = [tuple(int(part) for part in one.split("-")) for one in _ids(run)]
    return next((place for place, one in enumerate(places) if one > wanted), len(places))


def _checkpoint(run: Run) -> tuple[int, int]:
    """When the thread's last checkpoint was made, and how many frames there were: interrupts come behind it."""
    ids = _ids(run)
    written = [place for place, frame in enumerate(run.frames) if frame.event == "updates" and not _asks(frame)]
    place = max(written, default=0)
    return int(ids[place].partition("-")[0]), place


def _stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _asks(frame: Frame) -> bool:
    return frame.data.startswith(f'{{"{INTERRUPT}":')


def _items(run: Run) -> dict[str, str]:
    """Every interrupt that was told, by its id, as it was told."""
    head = f'{{"{INTERRUPT}":['
    made = {}
    for frame in run.frames:
        if _asks(frame):
            item = frame.data[len(head) : -2]
            made[item.rpartition('"id":"')[2].partition('"')[0]] = item
    return made


def _interrupt(approval: Approval) -> str:
    return approval.id.partition("/")[0]


def _count(run: Run, approval: Approval) -> int:
    return sum(1 for one in run.approvals.values() if _interrupt(one) == _interrupt(approval))


def _decision(payload: Any, approval: Approval) -> dict[str, Any] | None:
    """What a payload says to one call, as far as that can be read."""
    place = int(approval.id.partition("/")[2] or 0)
    found = payload.get("decisions") if isinstance(payload, dict) else None
    if isinstance(found, list):
        return found[place] if place < len(found) and isinstance(found[place], dict) else None
    if isinstance(payload, dict) and isinstance(payload.get("approved"), bool):
        return {"type": "approve" if payload["approved"] else "reject"}
    return payload if isinstance(payload, dict) and "type" in payload else None


def _settled(payload: Any, approval: Approval, count: int, form: str) -> dict[str, Any] | None:
    """The answer to one call; None where its agent does not understand it."""
    decision = _decision(payload, approval)
    if decision is None or (form == "batched") != (isinstance(payload, dict) and "decisions" in payload):
        return None
    if (form == "batched" and len(payload["decisions"]) != count) or decision.get("type") not in DECISIONS:
        return None
    answer = {"approval": approval.id, "verdict": "approve", "reason": str(decision.get("message", ""))}
    if decision["type"] == "edit":
        action = decision.get("edited_action")
        if not isinstance(action, dict) or not isinstance(action.get("args"), dict):
            return None
        answer["edited"] = json.dumps(action["args"], sort_keys=True, separators=(",", ":"))
    elif decision["type"] != "approve":
        answer["verdict"] = "reject"
    return answer


def _task(given: Any) -> str:
    """The first message of a graph that takes messages, else the input as it is."""
    found = given.get("messages") if isinstance(given, dict) else None
    first = found[0] if isinstance(found, list) and found else None
    content = first.get("content") if isinstance(first, dict) else None
    return content if isinstance(content, str) else json.dumps(given)


def _made(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": str(uuid.uuid4()),
        "thread_id": run.id,
        "assistant_id": body["assistant_id"],
        "status": "pending",
        "multitask_strategy": body.get("multitask_strategy", "enqueue"),
    }


def _error(status: int, text: str) -> dict[str, object]:
    return {"detail": text}


def _is_uuid(said: str) -> bool:
    try:
        uuid.UUID(said)
    except ValueError:
        return False
    return True


async def _silence(connection: Connection) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await connection.write(b": heartbeat\r\n\r\n")


def _big_frame(size: int) -> bytes:
    head, tail = b'event: custom\r\ndata: {"content":"', b'"}\r\n\r\n'
    return head + b"x" * (size - len(head) - len(tail)) + tail
