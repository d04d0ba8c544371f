"""Agno AgentOS' wire: start, join, continue and read a run of an agent.

Source: agno 3.1.10 on loopback, 2026-11. Form posts; `event:` and `data:` without ids, the place in `event_index`; a
stream that closes at each pause; an answer in which whatever is left out counts as refused; no error for a repeat, nor
for an answer to a run that is over, which a yes still runs.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from streams.emulator.agno_agent import Agent, tool_of
from streams.emulator.faults import Fault, UnknownFault, in_text
from streams.emulator.http import Connection, Request
from streams.emulator.scenarios import SCENARIOS
from streams.emulator.state import Frame, Run
from streams.emulator.teller import data, drop_after
from streams.emulator.wire import Sender, World, answer_fault

logger = logging.getLogger(__name__)

HEARTBEAT_S = 30.0
STATUSES = {"running": "RUNNING", "waiting": "PAUSED", "finished": "COMPLETED", "failed": "ERROR"}


class Agno:
    """Runs in the background go on by themselves; streams only show them, up to their next pause."""

    kind = "agno"

    def __init__(self, world: World) -> None:
        self._world = world
        self._agents: set[asyncio.Task[None]] = set()

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
        task = asyncio.create_task(Agent(self._world, run).play(), name=f"agno {run.id}")
        self._agents.add(task)
        task.add_done_callback(self._played)

    def _played(self, task: asyncio.Task[None]) -> None:
        self._agents.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            logger.error("%s: its agent failed", task.get_name(), exc_info=problem)

    # -- requests

    async def handle(self, request: Request, path: str, connection: Connection) -> None:
        """Dispatch. Where a key is set, it comes as a bearer token."""
        if self._world.api_key and request.headers.get("authorization", "") != f"Bearer {self._world.api_key}":
            await self._refuse(connection, 401, "Invalid authentication token")
            return
        match request.method, path.strip("/").split("/"):
            case "POST", ["agents", agent, "runs"]:
                await self._start(request, agent, connection)
            case "GET", ["agents", agent, "runs", run_id]:
                await self._read(request, agent, run_id, connection)
            case "POST", ["agents", agent, "runs", run_id, "resume"]:
                await self._join(request, agent, run_id, connection)
            case "POST", ["agents", agent, "runs", run_id, "continue"]:
                await self._continue(request, agent, run_id, connection)
            case "GET", _:
                await self._refuse(connection, 405, "Method Not Allowed")
            case _:
                await self._refuse(connection, 404, "Not Found")

    async def _refuse(self, connection: Connection, status: int, text: str) -> None:
        await connection.answer_json(status, _error(status, text))

    def _known(self, agent: str, run_id: str, session_id: str) -> Run | None:
        run = self._world.state.runs.get((self.kind, run_id))
        return run if run is not None and run.subject == agent and session_id in ("", run.thread) else None

    # -- start

    async def _start(self, request: Request, agent: str, connection: Connection) -> None:
        form, world = _form(request), self._world
        task = form.get("message")
        if task is None:
            await self._refuse(connection, 422, "message: Field required")
            return
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
        scenario, seed = world.choose(self.kind, wanted=agent, text=task)
        run = world.state.start_run(
            kind=self.kind,
            id=str(uuid.uuid4()),
            scenario=scenario.name,
            seed=seed,
            task=task,
            thread=form.get("session_id") or str(uuid.uuid4()),
            subject=agent,
            faults=own,
        )
        self._play(run)
        await drop_after(world, run, "start", connection)
        await connection.open_stream()
        await connection.while_connected(self._show(run, -1, connection, fault_on="start"))

    # -- stream

    async def _join(self, request: Request, agent: str, run_id: str, connection: Connection) -> None:
        """What came after an index, and what comes from now on, up to the next pause."""
        form = _form(request)
        run = self._known(agent, run_id, form.get("session_id", ""))
        if run is None or run.forgotten:
            await connection.open_stream()
            error = {"event": "error", "error": f"Run {run_id} not found in buffer or database"}
            await connection.write(_encode("error", json.dumps(error)))
            await connection.end()
            return
        if await answer_fault(
            lambda name: self._world.take(run, name, "stream"),
            request,
            connection,
            refusal=lambda status: _error(status, "Not now."),
        ):
            return
        run.connections += 1
        last = form.get("last_event_index", "")
        after = int(last) if last.isdigit() else -1
        await connection.open_stream()
        await connection.write(_preamble(run, after))
        await connection.while_connected(self._show(run, after, connection))

    async def _show(self, run: Run, after: int, connection: Connection, fault_on: str = "stream") -> None:
        sender = Sender(
            connection,
            lambda name: self._world.take(run, name, fault_on),
            big_frame=_big_frame,
            comment_s=HEARTBEAT_S,
            comment=b": heartbeat\n\n",
        )
        index = after + 1
        while True:
            news = run.news
            while index < len(run.frames):
                frame = run.frames[index]
                index += 1
                last = run.ended and index == len(run.frames)
                await sender.send(_encode(frame.event, self._shown(run, frame)), last=last)
            if run.status != "running" and index >= len(run.frames):
                break
            await sender.wait(news)
        await connection.end()

    def _shown(self, run: Run, frame: Frame) -> str:
        """A call that began has its result in it once it ran: what is kept is the object, not what was sent."""
        if frame.event != "ToolCallStarted" or not frame.data.count('"result":null'):
            return frame.data
        call_id = frame.data.rpartition('"tool_call_id":"')[2].partition('"')[0]
        ran = any(one.event == "ToolCallCompleted" and f'"tool_call_id":"{call_id}"' in one.data for one in run.frames)
        return frame.data.replace('"result":null', '"result":"done"') if ran and run.connections > 1 else frame.data

    # -- the run itself

    async def _read(self, request: Request, agent: str, run_id: str, connection: Connection) -> None:
        run = self._known(agent, run_id, request.query.get("session_id", ""))
        if run is None:
            await self._refuse(connection, 404, "Run not found")
            return
        if await answer_fault(
            lambda name: self._world.take(run, name, "read"),
            request,
            connection,
            refusal=lambda status: _error(status, "Not now."),
        ):
            return
        tools = ",".join(tool_of(one) for one in run.approvals.values())
        head = data(run_id=run.id, agent_id=run.subject, session_id=run.thread, status=STATUSES[run.status], content="")
        body = f'{head[:-1]},"tools":[{tools}]}}'.encode("utf-8", "surrogatepass")
        await connection.answer(200, body, content_type="application/json")

    # -- answers

    async def _continue(self, request: Request, agent: str, run_id: str, connection: Connection) -> None:
        form = _form(request)
        try:
            tools = json.loads(form.get("tools") or "[]")
        except (ValueError, RecursionError):
            tools = None
        if not isinstance(tools, list) or not form.get("session_id"):
            await self._refuse(connection, 400, "Invalid JSON in tools field, or no session_id")
            return
        run = self._known(agent, run_id, form["session_id"])
        if run is None:
            await connection.open_stream()
            said = data(event="RunError", content=f"No runs found for run ID {run_id}")
            await connection.write(_encode("RunError", said))
            await connection.end()
            return
        answers = {one.get("tool_call_id"): one for one in tools if isinstance(one, dict)}
        for approval in run.approvals.values():
            if (told := answers.get(approval.id)) is not None and isinstance(told.get("confirmed"), bool):
                verdict = "approve" if told["confirmed"] else "reject"
                self._world.state.record("received", kind=self.kind, run=run.id, approval=approval.id, verdict=verdict)
        if await answer_fault(
            lambda name: self._world.take(run, name, "decision"),
            request,
            connection,
            refusal=lambda status: _error(status, "Not now."),
        ):
            return
        after = len(run.frames) - 1
        if any(not approval.verdict for approval in run.approvals.values()):
            self._settle(run, answers)
        elif run.ended:
            self._late(run, answers)
        await drop_after(self._world, run, "decision", connection)
        await connection.open_stream()
        await connection.while_connected(self._show(run, after, connection, fault_on="continue"))

    def _settle(self, run: Run, answers: Mapping[Any, Any]) -> None:
        """One that is left out counts as refused."""
        settled = []
        for approval in run.approvals.values():
            if approval.verdict:
                continue
            told = answers.get(approval.id) or {}
            answer = {"approval": approval.id, "verdict": "approve" if told.get("confirmed") is True else "reject"}
            answer["reason"] = str(told.get("confirmation_note") or "")
            args = told.get("tool_args")
            if isinstance(args, dict) and args != _object(approval.text):
                answer["edited"] = json.dumps(args, sort_keys=True, separators=(",", ":"))
            settled.append(answer)
        self._world.state.record("status", kind=self.kind, run=run.id, status="running", sync=False)
        self._world.state.record("settled", kind=self.kind, run=run.id, answers=settled)

    def _late(self, run: Run, answers: Mapping[Any, Any]) -> None:
        """The run goes on once more; a yes to what was refused runs it."""
        teller = Agent(self._world, run)
        teller.frame("RunContinued", teller.event("RunContinued"), extra=True)
        for approval in run.approvals.values():
            told = answers.get(approval.id) or {}
            if told.get("confirmed") is True and approval.verdict != "approve":
                self._world.state.record("effect", kind=self.kind, run=run.id, approval=approval.id, did="executed")
        teller.frame("RunCompleted", teller.event("RunCompleted", content=""), extra=True)


def _preamble(run: Run, after: int) -> bytes:
    """What a joined stream says of itself first."""
    missed, word = max(0, len(run.frames) - after - 1), STATUSES[run.status]
    if run.status != "running":
        told = {"event": "replay", "run_id": run.id, "status": word, "total_events": missed}
        return _encode("replay", json.dumps(told))
    caught = {"event": "catch_up", "run_id": run.id, "status": "running", "missed_events": missed}
    joined = {"event": "subscribed", "run_id": run.id, "status": "running", "current_event_count": len(run.frames)}
    return (_encode("catch_up", json.dumps(caught)) if missed else b"") + _encode("subscribed", json.dumps(joined))


def _encode(event: str, said: str) -> bytes:
    return f"event: {event}\ndata: {said}\n\n".encode("utf-8", "surrogatepass")


def _form(request: Request) -> Mapping[str, str]:
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _error(status: int, text: str) -> dict[str, object]:
    return {"detail": text}


def _big_frame(size: int) -> bytes:
    head, tail = b'event: RunContent\ndata: {"event":"RunContent","content":"', b'"}\n\n'
    return head + b"x" * (size - len(head) - len(tail)) + tail
