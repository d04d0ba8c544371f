"""Mindra's wire: start, stream, approve, reject. Source: docs.mindra.co api-reference, read 2026-11.

What the pages leave open follows one assumption each; the alternatives are faults: the stream is repeated whole on
each connection, a second decision is a 409, a failed run ends in `done` with status `failed`.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence

from streams.emulator.faults import Fault, UnknownFault, in_text
from streams.emulator.http import Connection, Hangup, Request
from streams.emulator.mindra_agent import Agent
from streams.emulator.scenarios import SCENARIOS
from streams.emulator.state import Approval, Frame, Run
from streams.emulator.wire import Sender, World, answer_fault, first_frame

logger = logging.getLogger(__name__)

STATUS_CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}

SETTLED = {"approve": "approved", "reject": "rejected", "expired": "expired"}


class Mindra:
    """The workflows API. Runs go on by themselves; streams only show them."""

    kind = "mindra"

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
        task = asyncio.create_task(Agent(self._world, run).play(), name=f"mindra {run.id}")
        self._agents.add(task)
        task.add_done_callback(self._played)

    def _played(self, task: asyncio.Task[None]) -> None:
        self._agents.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            logger.error("%s: its agent failed", task.get_name(), exc_info=problem)

    # -- requests

    async def handle(self, request: Request, path: str, connection: Connection) -> None:
        """Dispatch. The stream's path begins with /api/v1, the others with /v1: so the pages say."""
        key = request.headers.get("x-api-key", "")
        if not key or (self._world.api_key and key != self._world.api_key):
            await self._refuse(connection, 401, "The API key is missing or not valid.")
            return
        match request.method, path.strip("/").split("/"):
            case "POST", ["v1", "workflows", slug, "run"]:
                await self._start(request, slug, connection)
            case "GET", ["api", "v1", "workflows", "execute", run_id, "stream"]:
                await self._stream(request, run_id, connection)
            case "POST", ["v1", "workflows", "execute", run_id, ("approve" | "reject") as verdict, approval_id]:
                await self._decide(request, run_id, approval_id, verdict, connection)
            case _:
                await self._refuse(connection, 404, "There is nothing at this path.")

    async def _refuse(self, connection: Connection, status: int, text: str, code: str = "") -> None:
        await connection.answer_json(status, self._error(status, text, code))

    def _error(self, status: int, text: str, code: str = "") -> dict[str, object]:
        code = code or STATUS_CODES.get(status, "CONFLICT" if status == 409 else "ERROR")
        if self._world.board.take("old-errors", kind=self.kind):
            return {"error": code, "message": text, "details": None, "requestId": f"req_{secrets.token_hex(6)}"}
        return {"error": text, "code": code}

    def _not_now(self, status: int) -> dict[str, object]:
        return self._error(status, "Not now.")

    # -- start

    async def _start(self, request: Request, slug: str, connection: Connection) -> None:
        try:
            body = request.json()
        except (ValueError, RecursionError):
            body = None
        task = body.get("task") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(task, str) or not isinstance(body.get("metadata", {}), dict):
            await self._refuse(connection, 400, "The body is an object with a string `task` and an object `metadata`.")
            return
        world = self._world
        try:
            own = world.refused_starts.setdefault(task, in_text(task))
        except UnknownFault as exc:
            await self._refuse(connection, 400, str(exc), "UNKNOWN_FAULT")
            return

        def take(name: str) -> Fault | None:
            return world.board.take(name, kind=self.kind, on="start", own=own)

        if await answer_fault(take, request, connection, refusal=self._not_now):
            return
        world.refused_starts.pop(task, None)
        scenario, seed = world.choose(self.kind, wanted=slug, text=task)
        run_id = f"exec_{secrets.token_hex(8)}"
        run = world.state.start_run(kind=self.kind, id=run_id, scenario=scenario.name, seed=seed, task=task, faults=own)
        self._play(run)
        await self._drop_after(run, "start", connection)
        url = f"/api/v1/workflows/execute/{run_id}/stream"
        if fault := world.take(run, "stream-url", "start"):
            url = fault.text("url").replace("RUN", run_id)
        await connection.answer_json(200, {"execution_id": run_id, "stream_url": url})

    async def _drop_after(self, run: Run, on: str, connection: Connection) -> None:
        """What was asked is done: lose the answer if a fault says so. Raises Hangup."""
        if fault := self._world.take(run, "effect-then-drop", on):
            if code := fault.whole("code"):
                await self._refuse(connection, code, "Something went wrong on our side.")
            else:
                connection.reset()
            raise Hangup

    # -- stream

    async def _stream(self, request: Request, run_id: str, connection: Connection) -> None:
        run = self._world.state.runs.get((self.kind, run_id))
        if run is None or run.forgotten:
            await self._refuse(connection, 404, "No such execution.")
            return
        if await answer_fault(
            lambda name: self._world.take(run, name, "stream"), request, connection, refusal=self._not_now
        ):
            return
        run.connections += 1
        done = run.ended and run.connections > 1 and self._world.take(run, "after-done", "stream")
        if done and done.text("how") == "404":
            await self._refuse(connection, 404, "No such execution.")
            return
        await connection.open_stream()
        if done:
            frames = run.frames[-1:] if done.text("how") == "done" else []
            await connection.write(b"".join(encode(frame, "") for frame in frames))
            await connection.end()
            return
        await connection.while_connected(self._show(run, request.headers.get("last-event-id", ""), connection))

    async def _show(self, run: Run, last_id: str, connection: Connection) -> None:
        """Send the run from where the replay policy says, then follow it to its end."""
        world = self._world
        ids = world.take(run, "ids", "stream") is not None
        index = self._first(run, last_id if ids else "")
        if index is None:
            await connection.end()
            return
        changed = world.take(run, "replay-divergent", "stream") if run.connections > 1 else None
        sender = Sender(connection, lambda name: world.take(run, name, "stream"), big_frame=_big_frame)
        while True:
            news = run.news
            while index < len(run.frames):
                frame = run.frames[index]
                index += 1
                if changed and index == changed.whole("at"):
                    frame = Frame(frame.event, frame.data.replace("{", '{"revised":true,', 1))
                last = run.ended and index == len(run.frames)
                await sender.send(encode(frame, f"{run.id}-{index}" if ids else ""), last=last)
            if run.ended and index >= len(run.frames):
                break
            await sender.wait(news)
        await connection.end()

    def _first(self, run: Run, last_id: str) -> int | None:
        """Index of the first frame that this connection gets; None: it gets none and ends."""
        if last_id.rpartition("-")[2].isdigit() and last_id.startswith(run.id):
            return int(last_id.rpartition("-")[2])
        return first_frame(self._world, run)

    # -- decision

    async def _decide(
        self, request: Request, run_id: str, approval_id: str, verdict: str, connection: Connection
    ) -> None:
        world = self._world
        run = world.state.runs.get((self.kind, run_id))
        approval = run.approvals.get(approval_id) if run else None
        if run is None or approval is None:
            await self._refuse(connection, 404, "No such approval.")
            return
        world.state.record("received", kind=self.kind, run=run_id, approval=approval_id, verdict=verdict)
        if await answer_fault(
            lambda name: world.take(run, name, "decision"), request, connection, refusal=self._not_now
        ):
            return
        reason = _reason(request)
        if reason is None:
            await self._refuse(connection, 400, "The body is an object; `reason` is a string.")
            return
        if approval.verdict or run.ended:
            await self._decide_again(run, approval, verdict, connection)
            return
        answer = {"approval": approval_id, "verdict": verdict, "reason": reason}
        world.state.record("settled", kind=self.kind, run=run_id, answers=[answer])
        await self._drop_after(run, "decision", connection)
        await connection.answer_json(200, {"approval_id": approval_id, "status": SETTLED[verdict]})

    async def _decide_again(self, run: Run, approval: Approval, verdict: str, connection: Connection) -> None:
        """Undocumented; we say 409, and never act twice unless a fault says so."""
        fault = self._world.take(run, "repeat", "decision")
        if fault is None:
            code = "APPROVAL_EXPIRED" if approval.verdict in ("expired", "") else "APPROVAL_ALREADY_DECIDED"
            await self._refuse(connection, 409, "This approval is no longer open.", code)
            return
        if fault.text("how") == "acts":
            did = "executed" if verdict == "approve" else "skipped"
            self._world.state.record("effect", kind=self.kind, run=run.id, approval=approval.id, did=did)
        await connection.answer_json(200, {"approval_id": approval.id, "status": SETTLED[approval.verdict or verdict]})


def encode(frame: Frame, frame_id: str) -> bytes:
    """A frame as the pages show it: an `event:` line and a `data:` line; ids only as a fault."""
    head = f"id: {frame_id}\n" if frame_id else ""
    return f"{head}event: {frame.event}\ndata: {frame.data}\n\n".encode("utf-8", "surrogatepass")


def _reason(request: Request) -> str | None:
    """The reason in a decision's body, None where the body is not what the pages describe; it may be absent."""
    try:
        body = request.json() if request.body else {}
    except (ValueError, RecursionError):
        return None
    reason = body.get("reason", "") if isinstance(body, dict) else None
    return reason if isinstance(reason, str) else None


def _big_frame(size: int) -> bytes:
    head, tail = b'event: chunk\ndata: {"content":"', b'"}\n\n'
    return head + b"x" * (size - len(head) - len(tail)) + tail
