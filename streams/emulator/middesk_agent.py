"""A Middesk run behind its stream: plays the story into whole snapshots, and waits for people."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

from streams.emulator.middesk_objects import Asked, Portrait, iso, unpack
from streams.emulator.middesk_script import (
    Artifacts,
    Beat,
    Break,
    Done,
    Enter,
    Interrupt,
    Leave,
    Policy,
    Question,
    Work,
    go_on,
)
from streams.emulator.middesk_stories import AGENTS, uuid_from
from streams.emulator.payloads import PAYLOADS
from streams.emulator.script import Answers, Verdict
from streams.emulator.state import Approval, Run
from streams.emulator.wire import World

NO_ANSWERS: Answers = ()
Step = dict[str, Any]
Notify = Callable[[Run, str], None]  # a run and the kind of webhook event that is due


class Agent:
    """Plays one run. After a restart it plays the story again from its start and leaves out what was told already."""

    def __init__(self, world: World, run: Run, notify: Notify) -> None:
        self._world, self._run, self._notify = world, run, notify
        self._known = [frame for frame in run.frames if not frame.extra]  # of the story, told before the restart
        self._told = 0  # frames of the story, told now or before the restart
        self._moment = (-1, "")
        self._steps: list[Step] = []
        self._inside: list[Step] = []  # the sub-agents' steps that are open, outermost first
        self._ids = random.Random(f"{run.id} ids")  # noqa: S311 - the same ids after a restart

    async def play(self) -> None:
        """Play to the end."""
        run = self._run
        story = AGENTS[run.scenario].play(random.Random(run.seed), run.subject)  # noqa: S311 - words, not secrets
        self._tell("RUN_STARTED")
        await self._show()
        answers: Answers | None = None
        while not run.ended:
            answers = await self._act(go_on(story, answers))

    async def _act(self, beat: Beat | Done) -> Answers:
        match beat:
            case Work():
                step = self._open("activity", beat.name, beat.label)
                await self._show()
                await self._work(beat.seconds)
                self._close(step, artifacts=beat.artifacts)
                await self._show()
            case Enter(agent, label):
                self._inside.append(self._open("activity", f"agent_{agent}", label, agent))
            case Leave(artifacts):
                self._close(self._inside.pop(), artifacts=artifacts)
                await self._show()
            case Question():
                return await self._ask(beat)
            case Policy(interrupt, resolution):
                step = self._open_interrupt(interrupt)
                self._close(step, result={"resolution": resolution})
                await self._show()
            case Break(message):
                self._end("error", message=message)
            case Done(artifacts):
                self._end("completed", output=artifacts)
        return NO_ANSWERS

    async def _work(self, seconds: float) -> None:
        """While a step runs; what was told before a restart takes no time again."""
        if self._told >= self._run.told:
            await self._world.pace.work(seconds)

    # -- steps

    def _open(self, type: str, name: str, label: str, agent: str = "") -> Step:
        parent = self._inside[-1] if self._inside else None
        step: Step = {
            "id": uuid_from(self._ids),
            "run_id": self._run.id,
            "type": type,
            "name": name,
            "label": label,
            "status": "running",
            "agent": agent or (parent["agent"] if parent else self._run.scenario),
            "parent_step_id": parent["id"] if parent else None,
            "started_at": self._now(),
            "completed_at": None,
            "steps": [],
            "artifacts": [],
        }
        (parent["steps"] if parent else self._steps).append(step)
        return step

    def _open_interrupt(self, interrupt: Interrupt) -> Step:
        step = self._open("interrupt", interrupt.name, interrupt.label, str(interrupt.value["agent"]))
        step["artifacts"] = list(interrupt.findings)
        return step

    def _close(self, step: Step, *, artifacts: Artifacts = (), result: Step | None = None, status: str = "") -> None:
        step["status"], step["completed_at"] = status or "completed", self._now()
        step["artifacts"] += artifacts
        if result is not None:
            step["result"] = result

    # -- telling

    def _now(self) -> str:
        """The time of the frame that comes next: one for all that is said of it, and the same after a restart."""
        if self._moment[0] != self._told:
            known = self._known[self._told].data if self._told < len(self._known) else None
            self._moment = (self._told, iso(time.time()) if known is None else str(json.loads(known)["at"]))
        return self._moment[1]

    def _tell(self, event: str, data: str = "", **more: object) -> bool:
        """Append a frame of the story; False: it was told before the restart."""
        data = data or json.dumps({"at": self._now(), **more})
        self._told += 1
        if self._told <= self._run.told:
            return False
        self._frame(event, data)
        if self._world.take(self._run, "unknown-event", "stream"):
            self._frame("STEP_STARTED", json.dumps({"at": iso(time.time())}), extra=True)
        return True

    def _frame(self, event: str, data: str, *, extra: bool = False) -> None:
        kind, run = self._run.kind, self._run.id
        self._world.state.record("frame", kind=kind, run=run, event=event, data=data, extra=extra, sync=False)

    async def _show(self) -> None:
        if self._tell("STATE_SNAPSHOT", self._portrait().packed()):
            await self._world.pace.piece()

    def _portrait(self, status: str = "running", **more: Any) -> Portrait:
        return Portrait(at=self._now(), status=status, steps=self._steps, **more)

    def _end(self, status: str, *, message: str = "", output: Artifacts | None = None) -> None:
        """The last frames and the end are one moment for every reader: nothing is awaited between them."""
        if message:
            step = self._open("error", "failed", message)
            self._close(step, status="error")
        last = self._portrait(status, output=None if output is None else list(output), ended_at=self._now())
        self._tell("STATE_SNAPSHOT", last.packed())
        if message and self._world.take(self._run, "error-event", "stream"):
            self._tell("RUN_ERROR", message=message)
        else:
            self._tell("RUN_FINISHED")
        ended = "finished" if status == "completed" else "failed"
        self._world.state.record("status", kind=self._run.kind, run=self._run.id, status=ended)
        self._notify(self._run, "run.completed")

    # -- asking

    async def _ask(self, question: Question) -> Answers:
        """Ask, wait, and tell of each answer by itself, in the order they came."""
        asked = [(self._open_interrupt(one), self._request(one)) for one in question.interrupts]
        self._pause(asked)
        left = list(asked)
        while left:
            news = self._run.news
            settled = sorted((pair for pair in left if pair[1].verdict), key=lambda pair: pair[1].order)
            for pair in settled:
                left.remove(pair)
                self._tell("RUN_STARTED", resumed=True)
                self._close(pair[0])
                if left:
                    self._pause(left)
                else:
                    await self._go_on()
            if not settled:
                await self._wait(news, left)
        return tuple(_verdict(approval) for _, approval in asked)

    async def _go_on(self) -> None:
        self._status("running")
        await self._show()

    def _pause(self, left: list[tuple[Step, Approval]]) -> None:
        """The question and the end of the stream are one moment for every reader: nothing is awaited between them."""
        self._status("waiting")
        open_ones = [_asked(approval) for _, approval in left]
        new = self._tell("STATE_SNAPSHOT", self._portrait("interrupted", interrupts=open_ones).packed())
        self._tell("RUN_FINISHED", paused=True)
        if new:
            self._notify(self._run, "run.interrupted")

    def _status(self, status: str) -> None:
        if self._run.status != status:
            self._world.state.record("status", kind=self._run.kind, run=self._run.id, status=status, sync=False)

    def _request(self, interrupt: Interrupt) -> Approval:
        """The request for one interrupt: recorded first, shown after it."""
        interrupt_id, run = f"int_{self._ids.getrandbits(48):012x}", self._run
        if interrupt_id not in run.approvals:
            odd = self._world.take(run, "payload", "stream")
            self._world.state.record(
                "asked",
                kind=run.kind,
                run=run.id,
                approval=interrupt_id,
                tool=str(interrupt.value["agent"]),
                text=PAYLOADS[odd.text("form")]() if odd else interrupt.text,
                message=str(interrupt.value["label"]),
                asked_at=time.time(),
            )
        return run.approvals[interrupt_id]

    async def _wait(self, news: asyncio.Event, waiting: list[tuple[Step, Approval]]) -> None:
        """Until something happens to the run; Middesk's interrupts do not lapse."""
        run = self._run
        if self._world.take(run, "changed-input", "stream"):
            self._change(waiting[0][1])
        if elsewhere := self._world.take(run, "resolved-outside", "stream"):
            answer = {"approval": waiting[0][1].id, "verdict": "void", "reason": elsewhere.text("how")}
            self._world.state.record("settled", kind=run.kind, run=run.id, answers=[answer])
            return
        await news.wait()

    def _change(self, approval: Approval) -> None:
        """The same interrupt id, another value."""
        run = self._run
        before = unpack(run.view)
        try:
            value = json.loads(approval.text)
        except (ValueError, RecursionError):
            value = {}
        value = value if isinstance(value, dict) else {}
        text = json.dumps({**value, "changed": len(run.frames)}, ensure_ascii=False)
        self._world.state.record("asked", kind=run.kind, run=run.id, approval=approval.id, text=text)
        changed = [_asked(approval) if one.id == approval.id else one for one in before.interrupts]
        at = iso(time.time())
        self._frame("RUN_STARTED", json.dumps({"at": at, "resumed": True}), extra=True)
        portrait = Portrait(at=at, status="interrupted", steps=before.steps, interrupts=changed)
        self._frame("STATE_SNAPSHOT", portrait.packed(), extra=True)
        self._frame("RUN_FINISHED", json.dumps({"at": at, "paused": True}), extra=True)
        self._notify(run, "run.interrupted")


def _asked(approval: Approval) -> Asked:
    return Asked(approval.id, approval.text, approval.tool)


def _verdict(approval: Approval) -> Verdict:
    """What came of it; one that was resolved without us has its verdict in its reason."""
    return Verdict(approval.reason) if approval.verdict == "void" else Verdict(approval.verdict, approval.reason)
