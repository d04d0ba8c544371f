"""Middesk's wire: runs of agents, their streams, answers to their interrupts. Source: docs.middesk.com, read 2026-11.

What the pages leave open follows one assumption each; the alternatives are faults. A stream is repeated whole on each
connection and closes after its last event; an interrupted run's last event is RUN_FINISHED, and after the answer the
same run goes on behind it. `POST /v1/runs/{id}/resume` is named by the pages but nowhere described.
"""

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from streams.emulator.faults import Fault, UnknownFault, in_text
from streams.emulator.http import Connection, Hangup, Request
from streams.emulator.middesk_agent import Agent
from streams.emulator.middesk_input import (
    Refused,
    authenticate,
    page_of,
    read_agent_type,
    read_answer,
    read_context,
    read_id,
    read_object,
    read_webhook,
    wants_steps,
)
from streams.emulator.middesk_objects import (
    ACCOUNT,
    Dress,
    Portrait,
    compact,
    errors,
    event_text,
    iso,
    run_text,
    unpack,
)
from streams.emulator.middesk_stories import AGENTS, offers
from streams.emulator.middesk_webhooks import Webhooks
from streams.emulator.state import Approval, Frame, Run
from streams.emulator.wire import Sender, World, answer_fault, first_frame

logger = logging.getLogger(__name__)

THREAD_STATUS = {"running": "running", "waiting": "interrupted", "finished": "completed", "failed": "error"}


@dataclass(frozen=True, slots=True)
class Start:
    """What a new run was asked to be."""

    agent: str
    text: str  # the type as it was given, with the faults in it
    subject: str
    thread: str  # empty: one of its own
    faults: list[Fault]


class Middesk:
    """The agents API. Runs go on by themselves; streams only show them."""

    kind = "middesk"

    def __init__(self, world: World) -> None:
        self._world = world
        self._agents: set[asyncio.Task[None]] = set()
        self._webhooks = Webhooks(world, lambda run: replace(self._dress(run, "webhook"), shape=""))
        self._stale: dict[str, tuple[float, Portrait]] = {}  # by a fault: what a run's readers see until then

    def offers(self) -> Sequence[dict[str, object]]:
        return offers()

    def go_on(self) -> None:
        self._webhooks.go_on()
        for run in self._world.state.of_kind(self.kind):
            if not run.ended:
                self._play(run)

    async def stop(self) -> None:
        for task in self._agents:
            task.cancel()
        await asyncio.gather(*self._agents, return_exceptions=True)
        await self._webhooks.stop()

    def _play(self, run: Run) -> None:
        task = asyncio.create_task(Agent(self._world, run, self._notify).play(), name=f"middesk {run.id}")
        self._agents.add(task)
        task.add_done_callback(self._played)

    def _played(self, task: asyncio.Task[None]) -> None:
        self._agents.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            logger.error("%s: its agent failed", task.get_name(), exc_info=problem)

    def _notify(self, run: Run, type: str) -> None:
        self._webhooks.emit(run, type, self._portrait(run))

    # -- requests

    async def handle(self, request: Request, path: str, connection: Connection) -> None:
        """Dispatch; what is refused is an array of errors."""
        try:
            authenticate(request, self._world.api_key)
            await self._dispatch(request, path.strip("/").split("/"), connection)
        except Refused as exc:
            await connection.answer_json(exc.status, errors(exc.message, exc.parameter))

    async def _dispatch(self, request: Request, path: list[str], connection: Connection) -> None:
        match request.method, path:
            case "POST", ["v1", "runs"]:
                await self._start(request, connection)
            case "GET", ["v1", "runs"]:
                runs = list(self._world.state.of_kind(self.kind))
                await _answer_text(connection, 200, page_of(request, runs, self._run_text))
            case "GET", ["v1", "runs", run_id]:
                await self._read(request, self._run(run_id), connection)
            case "GET", ["v1", "runs", run_id, "stream"]:
                await self._stream(request, self._run(run_id), connection)
            case "POST", ["v1", "runs", run_id, "resume"]:
                await self._resume(request, self._run(run_id), connection)
            case _, ["v1", "threads", *rest]:
                await self._threads(request, rest, connection)
            case _, ["v1", "webhooks", *rest]:
                await self._hooks(request, rest, connection)
            case "GET", ["v1", "agents"]:
                await connection.answer_json(200, {"data": [_agent(type) for type in AGENTS]})
            case "GET", ["v1", "agents", agent_id]:
                found = [type for type, agent in AGENTS.items() if agent.id == agent_id]
                if not found:
                    raise Refused(404, "There is no such agent.")
                await connection.answer_json(200, _agent(found[0]))
            case _:
                raise Refused(404, "There is nothing at this path.")

    def _run(self, run_id: str) -> Run:
        run = self._world.state.runs.get((self.kind, run_id))
        if run is None:
            raise Refused(404, "There is no such run.")
        return run

    # -- start

    async def _start(self, request: Request, connection: Connection) -> None:
        world, state = self._world, self._world.state
        start = self._asked_start(read_object(request))

        def take(name: str) -> Fault | None:
            return world.board.take(name, kind=self.kind, on="start", own=start.faults)

        if await answer_fault(take, request, connection, refusal=_not_now):
            return
        world.refused_starts.pop(f"{self.kind} {start.text}", None)
        turn = sum(1 for _ in state.of_kind(self.kind))
        run = state.start_run(
            kind=self.kind,
            id=str(uuid4()),
            scenario=start.agent,
            seed=world.seed * 1_000_003 + turn,
            task=start.text,
            thread=start.thread or self._new_thread(start.agent, start.subject),
            subject=start.subject,
            faults=start.faults,
        )
        self._notify(run, "run.created")
        self._play(run)
        await self._drop_after(run, "start", connection)
        await _answer_text(connection, 201, self._run_text(run))

    def _asked_start(self, body: dict[str, Any]) -> Start:
        """Check a start. Raises Refused."""
        text = body.get("type")
        if not isinstance(text, str) or not text.strip():
            raise Refused(422, "The agent's type is missing.", "type")
        try:
            own = self._world.refused_starts.setdefault(f"{self.kind} {text}", in_text(text))
        except UnknownFault as exc:
            raise Refused(422, str(exc), "type") from exc
        thread_id, subject = read_id(body, "thread_id"), read_context(body)
        if not thread_id and not subject:
            raise Refused(400, "A run needs a context or a thread.")
        if thread_id:
            thread = self._world.state.collection(self.kind, "threads").get(thread_id)
            if thread is None:
                raise Refused(404, "There is no such thread.", "thread_id")
            subject = subject or thread["context_id"]
        agent = read_agent_type(text.split()[0])
        forced = self._world.scenario
        return Start(forced if forced in AGENTS else agent, text, subject, thread_id, own)

    async def _drop_after(self, run: Run, on: str, connection: Connection) -> None:
        """What was asked is done: lose the answer if a fault says so. Raises Hangup."""
        if fault := self._world.take(run, "effect-then-drop", on):
            if code := fault.whole("code"):
                await connection.answer_json(code, errors("Something went wrong on our side."))
            else:
                connection.reset()
            raise Hangup

    # -- reading

    def _portrait(self, run: Run) -> Portrait:
        """The run as it stands: what was answered is open no longer, even before its agent says so."""
        portrait = unpack(run.view) if run.view else Portrait(at=iso(run.at))
        return portrait.without(lambda id: bool(run.approvals[id].verdict))

    def _dress(self, run: Run, on: str) -> Dress:
        """How faults want the run to be shown."""

        def word(name: str, key: str) -> str:
            fault = self._world.take(run, name, on)
            return fault.text(key) if fault else ""

        return Dress(
            words=word("vocabulary", "words"),
            fields=word("event-fields", "style"),
            shape=word("snapshot-shape", "shape"),
        )

    def _run_text(self, run: Run, *, steps: bool = False, portrait: Portrait | None = None) -> str:
        respelled = self._world.take(run, "respelled", "read") is not None
        dress = replace(self._dress(run, "read"), shape="", respelled=respelled)
        return run_text(run, portrait or self._portrait(run), dress, steps=steps)

    async def _read(self, request: Request, run: Run, connection: Connection) -> None:
        if await answer_fault(lambda name: self._world.take(run, name, "read"), request, connection, refusal=_not_now):
            return
        until, seen = self._stale.get(run.id, (0.0, None))
        portrait = seen if time.monotonic() < until else None
        await _answer_text(connection, 200, self._run_text(run, steps=wants_steps(request), portrait=portrait))

    # -- stream

    async def _stream(self, request: Request, run: Run, connection: Connection) -> None:
        if await answer_fault(
            lambda name: self._world.take(run, name, "stream"), request, connection, refusal=_not_now
        ):
            return
        run.connections += 1
        gone = self._world.take(run, "after-done", "stream") if run.ended else None
        if run.forgotten or (gone and gone.text("how") == "404"):
            raise Refused(404, "The events of this run are no longer kept.")
        await connection.open_stream()
        if gone:
            frames = run.frames[-1:] if gone.text("how") == "done" else []
            await connection.write(b"".join(encode(frame, event_text(run, frame)) for frame in frames))
            await connection.end()
            return
        await connection.while_connected(self._show(run, connection))

    async def _show(self, run: Run, connection: Connection) -> None:
        """Send the run from its start, or from where a fault says, until it ends or waits for a person."""
        world = self._world
        index = first_frame(world, run)
        if index is None:
            await connection.end()
            return
        changed = world.take(run, "replay-divergent", "stream") if run.connections > 1 else None
        ends, dress = world.take(run, "interrupt-end", "stream"), self._dress(run, "stream")
        how = ends.text("how") if ends else ""
        sender = Sender(connection, lambda name: world.take(run, name, "stream"), big_frame=_big_frame)
        while True:
            news = run.news
            while index < len(run.frames):
                frame = run.frames[index]
                index += 1
                last = index == len(run.frames) and (run.ended or _waits(run))
                if not _is_shown(frame, how, last=last):
                    continue
                text = event_text(run, frame, dress)
                if changed and index == changed.whole("at"):
                    text = text.replace("{", '{"revised":true,', 1)
                await sender.send(encode(frame, text), last=last)
            if index >= len(run.frames) and (run.ended or (_waits(run) and how != "silent")):
                break
            await sender.wait(news)
        await connection.end()

    # -- resume

    async def _resume(self, request: Request, run: Run, connection: Connection) -> None:
        world = self._world
        interrupt_id, verdict, note = self._answer(run, read_object(request))
        approval = run.approvals.get(interrupt_id)
        if approval is not None:
            world.state.record("received", kind=self.kind, run=run.id, approval=interrupt_id, verdict=verdict)
        if await answer_fault(lambda name: world.take(run, name, "decision"), request, connection, refusal=_not_now):
            return
        if approval is None:
            if not _waits(run):
                raise Refused(422, "The run is not interrupted.")
            raise Refused(404, "The run has no such interrupt.", "interrupt_id")
        if approval.verdict:
            self._resume_again(run, approval, verdict)
        else:
            if late := world.take(run, "slow-readback", "decision"):
                self._stale[run.id] = (time.monotonic() + late.number("seconds"), self._portrait(run))
            answer = {"approval": interrupt_id, "verdict": verdict, "reason": note}
            world.state.record("settled", kind=self.kind, run=run.id, answers=[answer])
            await self._drop_after(run, "decision", connection)
        await _answer_text(connection, 200, self._run_text(run, steps=wants_steps(request)))

    def _answer(self, run: Run, body: dict[str, Any]) -> tuple[str, str, str]:
        """The interrupt's id, the verdict and the note. The body's shape is our assumption. Raises Refused."""
        fault = self._world.take(run, "resume-shape", "decision")
        return read_answer(body, fault.text("shape") if fault else "")

    def _resume_again(self, run: Run, approval: Approval, verdict: str) -> None:
        """Undocumented; we say 409, and never act twice unless a fault says so."""
        fault = self._world.take(run, "repeat", "decision")
        if fault is None:
            raise Refused(409, "This interrupt is no longer open.", "interrupt_id")
        if fault.text("how") == "acts":
            did = "executed" if verdict == "approve" else "skipped"
            self._world.state.record("effect", kind=self.kind, run=run.id, approval=approval.id, did=did)

    # -- threads

    async def _threads(self, request: Request, rest: list[str], connection: Connection) -> None:
        threads = self._world.state.collection(self.kind, "threads")
        match request.method, rest:
            case "POST", []:
                body = read_object(request)
                agent = read_agent_type(body.get("type"))
                if not (subject := read_context(body)):
                    raise Refused(422, "A thread needs a context.", "business_id")
                await connection.answer_json(201, self._thread(self._new_thread(agent, subject)))
            case "GET", []:
                wanted = request.query.get("business_id", "")
                found = [id for id, thread in threads.items() if wanted in ("", thread["context_id"])]
                await _answer_text(connection, 200, page_of(request, found, lambda id: compact(self._thread(id))))
            case "GET", [thread_id] if thread_id in threads:
                await connection.answer_json(200, self._thread(thread_id))
            case _:
                raise Refused(404, "There is no such thread.")

    def _new_thread(self, agent: str, subject: str) -> str:
        thread_id = str(uuid4())
        fields = {"type": agent, "context_type": "business", "context_id": subject, "at": time.time()}
        self._world.state.keep(self.kind, "threads", thread_id, fields)
        return thread_id

    def _thread(self, thread_id: str) -> dict[str, object]:
        """The thread as it stands: like its last run."""
        kept = self._world.state.collection(self.kind, "threads")[thread_id]
        runs = [run for run in self._world.state.threads.get(thread_id, []) if run.kind == self.kind]
        last = self._portrait(runs[-1]) if runs else None
        return {
            "object": "thread",
            "id": thread_id,
            "created_at": iso(kept["at"]),
            "updated_at": last.at if last else iso(kept["at"]),
            "status": THREAD_STATUS[runs[-1].status] if runs else "running",
            "metadata": None,
            "requester": ACCOUNT,
            "steps": list(last.steps) if last else [],
        }

    # -- webhooks

    async def _hooks(self, request: Request, rest: list[str], connection: Connection) -> None:
        endpoints = self._webhooks.endpoints()
        match request.method, rest:
            case "POST", []:
                await connection.answer_json(201, self._register(read_object(request)))
            case "GET", []:
                page = page_of(request, list(endpoints.values()), lambda one: compact(one.shown()))
                await _answer_text(connection, 200, page)
            case "GET", [id] if id in endpoints:
                await connection.answer_json(200, endpoints[id].shown())
            case "DELETE", [id] if self._webhooks.remove(id):
                await connection.answer_json(200, endpoints[id].shown())
            case _:
                raise Refused(404, "There is no such webhook.")

    def _register(self, body: dict[str, Any]) -> dict[str, object]:
        url, events, secret, include = read_webhook(body)
        return self._webhooks.register(url, events, secret=secret, include=include).shown()


def encode(frame: Frame, text: str) -> bytes:
    """An event as the pages show it: an `event:` line and a `data:` line, no id."""
    return f"event: {frame.event}\ndata: {text}\n\n".encode("utf-8", "surrogatepass")


def _waits(run: Run) -> bool:
    """Whether a person's answer is missing; an answer counts before its agent has heard of it."""
    return run.status == "waiting" and any(not approval.verdict for approval in run.approvals.values())


def _is_shown(frame: Frame, how: str, *, last: bool) -> bool:
    """Whether a frame is on the wire at all, given how interrupted streams end."""
    if not how or frame.event not in ("RUN_STARTED", "RUN_FINISHED"):
        return True
    kept = json.loads(frame.data)
    if how == "once" and kept.get("paused"):
        return last
    return not kept.get("paused") and not kept.get("resumed")


def _agent(type: str) -> dict[str, object]:
    agent = AGENTS[type]
    return {"object": "agent", "id": agent.id, "type": agent.type, "name": agent.title}


def _not_now(status: int) -> dict[str, object]:
    return errors("Not now.")


async def _answer_text(connection: Connection, status: int, text: str) -> None:
    """Answer with JSON that is text already, valid or not."""
    await connection.answer(status, text.encode("utf-8", "surrogatepass"), content_type="application/json")


def _big_frame(size: int) -> bytes:
    head, tail = b'event: STATE_SNAPSHOT\ndata: {"run_id":"', b'"}\n\n'
    return head + b"x" * (size - len(head) - len(tail)) + tail
