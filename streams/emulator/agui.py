"""AG-UI 1.0's wire: the answer to a POST is the run. Source: docs.ag-ui.com/spec/1.0, read 2026-11.

Behaviour that the specification leaves to the server follows pydantic-ai's AG-UI app in server mode (2.68), as
observed on the wire: protocol failures are RUN_STARTED and RUN_ERROR in a 200, a body that is no input is a 422.
"""

import time
from collections.abc import Sequence

from streams.emulator.agui_input import Entry, InvalidInput, RunInput, RunRefused, parse, read_answer
from streams.emulator.agui_run import Telling, encode
from streams.emulator.faults import Fault, UnknownFault, in_text
from streams.emulator.http import Connection, Hangup, Request
from streams.emulator.scenarios import SCENARIOS
from streams.emulator.state import Approval, Run
from streams.emulator.wire import Sender, World, answer_fault

KEEPALIVE_S = 15.0


class AgUi:
    """One agent at one URL. Interrupts live on after their run; nothing else does."""

    kind = "agui"

    def __init__(self, world: World) -> None:
        self._world = world

    def offers(self) -> Sequence[dict[str, object]]:
        return [
            {"task": s.task, "title": s.title, "asks": s.asks, "forwardedProps": {"scenario": s.name}}
            for s in SCENARIOS.values()
            if self.kind in s.kinds
        ]

    def go_on(self) -> None:
        """Nothing to do: a broken run cannot be re-entered, and what waits is in the state."""

    async def stop(self) -> None:
        """Nothing to do: runs live in their connections."""

    async def handle(self, request: Request, path: str, connection: Connection) -> None:
        if path.strip("/") not in ("", "agent"):
            await connection.answer_json(404, {"detail": "Not Found"})
        elif request.method != "POST":
            await connection.answer_json(405, {"detail": "Method Not Allowed"}, {"allow": "POST"})
        else:
            await self._post(request, connection)

    async def _post(self, request: Request, connection: Connection) -> None:
        try:
            asked = parse(request.body)
        except InvalidInput as exc:
            await connection.answer_json(422, exc.problems)
            return
        on = "decision" if asked.resume else "start"
        self._count(asked)
        try:
            own = self._own_faults(asked)
        except UnknownFault as exc:
            await connection.answer_json(422, [{"type": "value_error", "loc": ["messages"], "msg": str(exc)}])
            return

        def take(name: str) -> Fault | None:
            previous = self._last(asked.thread_id)
            if asked.resume and previous is not None:
                return self._world.take(previous, name, on)
            return self._world.board.take(name, kind=self.kind, on=on, own=own)

        if await answer_fault(take, request, connection, refusal=lambda status: {"detail": f"Error {status}"}):
            return
        try:
            run = self._resume(asked) if asked.resume else self._start(asked, own)
        except RunRefused as exc:
            await self._refuse(asked, exc, connection)
            return
        if run is None:
            await self._repeat(asked, connection)
            return
        await self._drop_after(run, on, connection)
        await self._tell(Telling(self._world, run, asked), on, connection)

    # -- starting

    def _own_faults(self, asked: RunInput) -> list[Fault]:
        """The faults that the task of a new run asks for; a resumed run inherits what is left of them."""
        if asked.resume:
            return []
        return self._world.refused_starts.setdefault(asked.task, in_text(asked.task))

    def _start(self, asked: RunInput, own: list[Fault]) -> Run:
        self._check_fresh(asked)
        last = self._last(asked.thread_id)
        if last is not None and _open(last):
            raise RunRefused("RESUME_REQUIRED", "The thread waits for an answer: send `resume`.")
        self._world.refused_starts.pop(asked.task, None)
        scenario, seed = self._world.choose(self.kind, wanted=asked.scenario, text=asked.task)
        return self._world.state.start_run(
            kind=self.kind,
            id=asked.run_id,
            thread=asked.thread_id,
            scenario=scenario.name,
            seed=seed,
            task=asked.task,
            faults=own,
        )

    def _check_fresh(self, asked: RunInput) -> None:
        if (self.kind, asked.run_id) in self._world.state.runs:
            raise RunRefused("RUN_ID_REUSED", f"Run {asked.run_id!r} exists already.")

    def _last(self, thread_id: str) -> Run | None:
        """The thread's last run."""
        runs = self._world.state.threads.get(thread_id, [])
        return runs[-1] if runs else None

    # -- resuming

    def _count(self, asked: RunInput) -> None:
        """Count every answer that arrived for a known interrupt, whatever becomes of it."""
        for entry in asked.resume:
            approval = self._known(asked.thread_id, entry.interrupt_id)
            if approval is not None:
                word = _word(entry)
                kind, run = self.kind, approval.run
                self._world.state.record("received", kind=kind, run=run, approval=approval.id, verdict=word)

    def _known(self, thread_id: str, interrupt_id: str) -> Approval | None:
        """The last request of that id on the thread, open or not."""
        for run in reversed(self._world.state.threads.get(thread_id, [])):
            if interrupt_id in run.approvals:
                return run.approvals[interrupt_id]
        return None

    def _resume(self, asked: RunInput) -> Run | None:
        """Take an answer: all of it or nothing. None: a repeat that a fault forgives. Raises RunRefused."""
        last = self._last(asked.thread_id)
        waiting = _open(last) if last is not None else []
        if last is None or not waiting:
            self._check_repeat(asked)
            return None
        self._check_fresh(asked)
        entries = self._match(asked, last, waiting)
        now = time.time()
        answers = [{"approval": a.id, **read_answer(entries[a.id], a, now)} for a in waiting]
        if self._world.take(last, "edits-ignored", "decision"):
            answers = [{**answer, "edited": ""} for answer in answers]
        again = self._world.take(last, "changed-input", "decision") is not None
        if again:
            answers = [{"approval": approval.id, "verdict": "void"} for approval in waiting]
        self._world.state.record("settled", kind=self.kind, run=last.id, answers=answers)
        self._world.state.record("status", kind=self.kind, run=last.id, status="finished", sync=False)
        answered = [*last.history] if again else [*last.history, [approval.id for approval in waiting]]
        return self._world.state.start_run(
            kind=self.kind,
            id=asked.run_id,
            thread=asked.thread_id,
            continues=last.id,
            scenario=last.scenario,
            seed=last.seed,
            task=last.task,
            history=answered,
            asks_again=again,
            faults=last.faults,
        )

    def _check_repeat(self, asked: RunInput) -> None:
        """Nothing waits: an error, unless a fault says that this server forgives repeats."""
        known = [self._known(asked.thread_id, entry.interrupt_id) for entry in asked.resume]
        if not all(approval and approval.verdict != "void" for approval in known):
            raise RunRefused("UNKNOWN_INTERRUPT", "The thread is not waiting for this interrupt.")
        last = self._last(asked.thread_id)
        if last is None or not any(fault.name == "repeat" for fault in (*last.faults, *self._world.board.armed)):
            raise RunRefused("ALREADY_RESUMED", "This interrupt has been answered; nothing was run again.")

    def _match(self, asked: RunInput, last: Run, waiting: Sequence[Approval]) -> dict[str, Entry]:
        """One entry for each open interrupt, and no other. Raises RunRefused."""
        entries = {entry.interrupt_id: entry for entry in asked.resume}
        open_ids = {approval.id for approval in waiting}
        if unknown := set(entries) - open_ids:
            if not self._world.take(last, "unknown-id-approves", "decision"):
                raise RunRefused("UNKNOWN_INTERRUPT", f"Not waiting on {', '.join(sorted(map(repr, unknown)))}.")
            return dict.fromkeys(open_ids, asked.resume[0])
        if missing := open_ids - set(entries):
            names = ", ".join(sorted(map(repr, missing)))
            raise RunRefused("INCOMPLETE_RESUME", f"All open interrupts are answered together; missing: {names}.")
        return entries

    # -- answering

    async def _refuse(self, asked: RunInput, why: RunRefused, connection: Connection) -> None:
        await connection.open_stream()
        await connection.write(encode(_started(asked)))
        await connection.write(encode({"type": "RUN_ERROR", "message": why.message, "code": why.code}))
        await connection.end()

    async def _repeat(self, asked: RunInput, connection: Connection) -> None:
        """A server that forgives a repeated answer: says yes, shows the first result again, or runs the tool again."""
        last = self._last(asked.thread_id)
        fault = last and self._world.take(last, "repeat", "decision")
        how = fault.text("how") if fault else "ok"
        await connection.open_stream()
        await connection.write(encode(_started(asked)))
        for number, entry in enumerate(asked.resume):
            approval = self._known(asked.thread_id, entry.interrupt_id)
            if approval is None or how == "ok":
                continue
            if how == "acts":
                did = "executed" if _word(entry) == "approve" else "skipped"
                run = approval.run
                self._world.state.record("effect", kind=self.kind, run=run, approval=approval.id, did=did)
            result = {"messageId": f"{asked.run_id}-r{number}", "toolCallId": approval.call_id, "content": "done"}
            await connection.write(encode({"type": "TOOL_CALL_RESULT", **result, "role": "tool"}))
        ids = {"threadId": asked.thread_id, "runId": asked.run_id}
        await connection.write(encode({"type": "RUN_FINISHED", **ids, "outcome": {"type": "success"}}))
        await connection.end()

    async def _drop_after(self, run: Run, on: str, connection: Connection) -> None:
        """The effect has happened: lose the answer if a fault says so. Raises Hangup."""
        fault = self._world.take(run, "effect-then-drop", on)
        if fault is None:
            return
        self._world.state.record("status", kind=self.kind, run=run.id, status="dropped")
        if code := fault.whole("code"):
            await connection.answer_json(code, {"detail": "Internal Server Error"})
        elif fault.flag("sent"):
            await connection.open_stream()
            started = {"type": "RUN_STARTED", "threadId": run.thread, "runId": run.id, "protocolVersion": "1.0"}
            await connection.write(encode(started))
        else:
            connection.reset()
        raise Hangup

    async def _tell(self, telling: Telling, on: str, connection: Connection) -> None:
        run = telling.run
        await connection.open_stream()
        sender = Sender(
            connection, lambda name: self._world.take(run, name, on), big_frame=_big_frame, comment_s=KEEPALIVE_S
        )
        try:
            await connection.while_connected(telling.tell(sender))
        finally:
            if not telling.told:
                self._drop(run)
        await connection.end()

    def _drop(self, run: Run) -> None:
        """The client never saw the end: nobody can answer what it would have asked."""
        void = [{"approval": approval.id, "verdict": "void"} for approval in _open(run)]
        if void:
            self._world.state.record("settled", kind=self.kind, run=run.id, answers=void)
        self._world.state.record("status", kind=self.kind, run=run.id, status="dropped")


def _open(run: Run) -> list[Approval]:
    return [approval for approval in run.approvals.values() if not approval.verdict]


def _word(entry: Entry) -> str:
    """Which counter an entry belongs to."""
    if entry.status == "cancelled":
        return "cancelled"
    said = entry.payload.get("approved") if isinstance(entry.payload, dict) else entry.payload
    return "reject" if said is False else "approve"


def _started(asked: RunInput) -> dict[str, object]:
    return {"type": "RUN_STARTED", "threadId": asked.thread_id, "runId": asked.run_id, "protocolVersion": "1.0"}


def _big_frame(size: int) -> bytes:
    head, tail = b'data: {"type":"CUSTOM","name":"padding","value":"', b'"}\n\n'
    return head + b"x" * (size - len(head) - len(tail)) + tail
