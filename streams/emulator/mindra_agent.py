"""A Mindra run behind its stream: plays the story into frames, and waits for people."""

import asyncio
import json
import random
import time

from streams.emulator.payloads import PAYLOADS
from streams.emulator.script import Answers, Ask, Call, Ended, Fail, Pause, Say, Step, Tool, Verdict, begin, go_on
from streams.emulator.state import Approval, Run
from streams.emulator.wire import World, pieces

NO_ANSWERS: Answers = ()


class Agent:
    """Plays one run. After a restart it plays the story again from its start and leaves out what was told already."""

    def __init__(self, world: World, run: Run) -> None:
        self._world, self._run = world, run
        self._told = 0  # frames of the story, told now or before the restart
        self._ids = random.Random(f"{run.id} approvals")  # noqa: S311 - the same ids after a restart

    async def play(self) -> None:
        """Play to the end."""
        script = self._world.script(self._run)
        step = begin(script)
        while not self._run.ended:
            step = go_on(script, await self._act(step))

    async def _act(self, step: Step | Ended) -> Answers:
        match step:
            case Say(text):
                for piece in pieces(text):
                    await self._tell("chunk", _data(content=piece))
            case Tool(name, arguments, result):
                await self._use(name, json.dumps(arguments, ensure_ascii=False), result)
            case Ask():
                return await self._ask(step)
            case Pause(seconds):
                await self._work(seconds)
            case Fail(message, code):
                self._fail(message, code)
            case Ended(answer):
                self._end("finished", "done", _done(self._run.id, "completed", final_answer=answer))
            case _:  # state, steps and reasoning have no word on this wire
                pass
        return NO_ANSWERS

    async def _use(self, tool: str, text: str, result: str) -> None:
        await self._tell("tool_executing", _executing_data(tool, text))
        await self._work(0.4)
        await self._tell("tool_result", _data(tool_name=tool, result=result))

    async def _work(self, seconds: float) -> None:
        """While a tool runs; what was told before a restart takes no time again."""
        if self._told >= self._run.told:
            await self._world.pace.work(seconds)

    def _fail(self, message: str, code: str) -> None:
        if self._world.take(self._run, "error-event", "stream"):
            self._end("failed", "error", {"error": message, "code": code})
        else:
            self._end("failed", "done", _done(self._run.id, "failed"))

    # -- telling

    async def _tell(self, event: str, data: str) -> None:
        """Append a frame of the story, unless it was told before the restart."""
        self._told += 1
        if self._told <= self._run.told:
            return
        self._frame(event, data)
        unknown = self._world.take(self._run, "unknown-event", "stream")
        if unknown:
            self._frame("telemetry", '{"tokens":17,"model":"unnamed"}', extra=True)
        await self._world.pace.piece()

    def _frame(self, event: str, data: str, *, extra: bool = False) -> None:
        kind, run = self._run.kind, self._run.id
        self._world.state.record("frame", kind=kind, run=run, event=event, data=data, extra=extra, sync=False)

    def _end(self, status: str, event: str, data: dict[str, object]) -> None:
        """The last frame and the end are one moment for every reader: nothing is awaited between them."""
        self._told += 1
        if self._told > self._run.told:
            self._frame(event, _data(**data))
        self._world.state.record("status", kind=self._run.kind, run=self._run.id, status=status)

    # -- asking

    async def _ask(self, step: Ask) -> Answers:
        """Ask, wait, and tell what came of each call, in the order of the answers."""
        asked = [(call, await self._request(call, step)) for call in step.calls]
        self._status("waiting")
        told: set[str] = set()
        while len(told) < len(asked):
            news = self._run.news
            settled = [pair for pair in asked if pair[1].verdict and pair[1].id not in told]
            for call, approval in sorted(settled, key=lambda pair: pair[1].order):
                told.add(approval.id)
                if approval.verdict == "approve":
                    await self._use(call.tool, approval.text, call.result(call.input))
            if not settled:
                await self._wait(news, [approval for _, approval in asked if not approval.verdict])
        self._status("running")
        return tuple(Verdict(approval.verdict, approval.reason) for _, approval in asked)

    def _status(self, status: str) -> None:
        if self._run.status != status:
            self._world.state.record("status", kind=self._run.kind, run=self._run.id, status=status, sync=False)

    async def _request(self, call: Call, step: Ask) -> Approval:
        """The request for one call: recorded first, shown after it."""
        approval_id = f"apr_{self._ids.getrandbits(48):012x}"
        run = self._run
        if approval_id not in run.approvals:
            odd = self._world.take(run, "payload", "stream")
            self._record_asked(approval_id, call, PAYLOADS[odd.text("form")]() if odd else call.text)
            if self._world.take(run, "early-executing", "stream"):
                self._frame("tool_executing", _executing_data(call.tool, run.approvals[approval_id].text), extra=True)
        approval = run.approvals[approval_id]
        await self._tell("approval_request", _request_data(approval))
        return approval

    def _record_asked(self, approval_id: str, call: Call, text: str) -> None:
        lapse = self._world.take(self._run, "expires", "stream")
        seconds = lapse.number("seconds") if lapse else self._world.approval_timeout_s
        now = time.time()
        self._world.state.record(
            "asked",
            kind=self._run.kind,
            run=self._run.id,
            approval=approval_id,
            tool=call.tool,
            text=text,
            asked_at=now,
            expires_at=None if seconds is None else now + seconds,
        )

    async def _wait(self, news: asyncio.Event, waiting: list[Approval]) -> None:
        """Until something happens to the run, or a request lapses: Mindra tells nobody when that is."""
        if self._world.take(self._run, "changed-input", "stream"):
            self._change(waiting[0])
        deadlines = [approval.expires_at for approval in waiting if approval.expires_at is not None]
        try:
            await asyncio.wait_for(news.wait(), max(0.0, min(deadlines) - time.time()) if deadlines else None)
        except TimeoutError:
            late = [a for a in waiting if not a.verdict and a.expires_at is not None and a.expires_at <= time.time()]
            answers = [{"approval": approval.id, "verdict": "expired"} for approval in late]
            self._world.state.record("settled", kind=self._run.kind, run=self._run.id, answers=answers)

    def _change(self, approval: Approval) -> None:
        """The same approval id, other arguments."""
        try:
            arguments = json.loads(approval.text)
        except (ValueError, RecursionError):
            arguments = {}
        text = json.dumps({**arguments, "changed": len(self._run.frames)}, ensure_ascii=False)
        kind, run = self._run.kind, self._run.id
        self._world.state.record("asked", kind=kind, run=run, approval=approval.id, text=text)
        self._frame("approval_request", _request_data(approval), extra=True)


def _request_data(approval: Approval) -> str:
    """The arguments go in as they are, valid or not: their text is what the reviewer's answer is bound to."""
    head = f'"approval_id":{json.dumps(approval.id)},"tool_name":{json.dumps(approval.tool)}'
    return f'{{{head},"tool_input":{approval.text}}}'


def _done(run_id: str, status: str, **more: object) -> dict[str, object]:
    return {"execution_id": run_id, "status": status, **more}


def _executing_data(tool: str, text: str) -> str:
    return f'{{"tool_name":{json.dumps(tool)},"tool_input":{text}}}'


def _data(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
