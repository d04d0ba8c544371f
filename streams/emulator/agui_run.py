"""One AG-UI run: a part of a story, told as events on the connection that asked for it."""

import json
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streams.emulator.agui_input import RunInput
from streams.emulator.payloads import PAYLOADS
from streams.emulator.script import (
    Ask,
    Begin,
    Call,
    End,
    Ended,
    Fail,
    Patch,
    Pause,
    Say,
    Script,
    Snapshot,
    Step,
    Think,
    Tool,
    Verdict,
    begin,
    go_on,
)
from streams.emulator.state import Approval, Run
from streams.emulator.wire import Sender, World, pieces

REFUSED = "The reviewer refused this call; it was not made."
UNANSWERED = "Nobody answered; the call was not made."


class Telling:
    """Tells one run: the results of the answers it brings, then the story up to the next question or its end."""

    def __init__(self, world: World, run: Run, asked: RunInput) -> None:
        self.run = run
        self._world = world
        self._sender: Sender | None = None
        self._ids = random.Random(f"{run.id} {run.thread}")  # noqa: S311 - names, not secrets
        self._messages: list[Mapping[str, Any]] = [m for m in asked.messages if m.get("role") != "activity"]
        self._turn: dict[str, Any] | None = None  # the assistant's message that further calls belong to
        self._on = "decision" if run.continues else "start"
        self.told = False  # the last event is on the wire

    async def tell(self, sender: Sender) -> None:
        """Send the whole run. Raises Hangup."""
        self._sender = sender
        await self._send("RUN_STARTED", **self._run_ids(), protocolVersion="1.0")
        script = self._world.script(self.run)
        step = await self._catch_up(script)
        while not await self._act(step):
            step = go_on(script)

    async def _catch_up(self, script: Script) -> Step | Ended:
        """Pass over what the runs before told. Only the last answers are new: tell their results."""
        step = begin(script)
        for number, answered in enumerate(self.run.history, start=1):
            while not isinstance(step, Ask):
                step = go_on(script)
            approvals = [self._approval(approval_id) for approval_id in answered]
            if number == len(self.run.history) and not self.run.asks_again:
                await self._results(step, approvals)
            step = go_on(script, tuple(Verdict(approval.verdict, approval.reason) for approval in approvals))
        return step

    def _approval(self, approval_id: str) -> Approval:
        """A request of an earlier run of this thread, as it was answered."""
        for run in reversed(self._world.state.threads[self.run.thread]):
            approval = run.approvals.get(approval_id)
            if approval is not None and approval.verdict and approval.verdict != "void":
                return approval
        raise KeyError(approval_id)

    async def _act(self, step: Step | Ended) -> bool:
        """Tell one step; whether it was the run's last."""
        match step:
            case Say(text):
                await self._say(text)
            case Think(text):
                await self._think(text)
            case Tool():
                await self._use(step)
            case Snapshot(value):
                await self._send("STATE_SNAPSHOT", snapshot=value)
            case Patch(operations):
                await self._send("STATE_DELTA", delta=operations)
            case Begin(name):
                await self._send("STEP_STARTED", stepName=name)
            case End(name):
                await self._send("STEP_FINISHED", stepName=name)
            case Pause(seconds):
                await self._work(seconds)
            case Ask():
                await self._ask(step)
                return True
            case Fail(message, code):
                await self._send("RUN_ERROR", message=message, code=code, last="failed")
                return True
            case Ended(answer):
                await self._finish({"type": "success"}, result=answer)
                return True
        return False

    # -- the words of the protocol

    async def _say(self, text: str) -> None:
        message_id = self._id("msg")
        await self._send("TEXT_MESSAGE_START", messageId=message_id, role="assistant")
        for piece in pieces(text):
            await self._send("TEXT_MESSAGE_CONTENT", messageId=message_id, delta=piece)
            await self._world.pace.piece()
        await self._send("TEXT_MESSAGE_END", messageId=message_id)
        self._turn = {"id": message_id, "role": "assistant", "content": text}
        self._messages.append(self._turn)

    async def _think(self, text: str) -> None:
        message_id = self._id("think")
        await self._send("REASONING_START", messageId=message_id)
        await self._send("REASONING_MESSAGE_START", messageId=message_id, role="reasoning")
        for piece in pieces(text):
            await self._send("REASONING_MESSAGE_CONTENT", messageId=message_id, delta=piece)
            await self._world.pace.piece()
        await self._send("REASONING_MESSAGE_END", messageId=message_id)
        await self._send("REASONING_END", messageId=message_id)

    async def _use(self, tool: Tool) -> None:
        call_id = self._id("call")
        await self._propose(call_id, tool.name, json.dumps(tool.input, ensure_ascii=False))
        await self._work(0.4)
        await self._result(call_id, tool.result)

    async def _propose(self, call_id: str, tool: str, text: str) -> None:
        if self._turn is None:
            self._turn = {"id": self._id("msg"), "role": "assistant"}
            self._messages.append(self._turn)
        await self._send("TOOL_CALL_START", toolCallId=call_id, toolCallName=tool, parentMessageId=self._turn["id"])
        for piece in pieces(text):
            await self._send("TOOL_CALL_ARGS", toolCallId=call_id, delta=piece)
            await self._world.pace.piece()
        await self._send("TOOL_CALL_END", toolCallId=call_id)
        function = {"name": tool, "arguments": text}
        self._turn.setdefault("toolCalls", []).append({"id": call_id, "type": "function", "function": function})

    async def _result(self, call_id: str, content: str) -> None:
        message: dict[str, Any] = {
            "messageId": self._id("result"),
            "toolCallId": call_id,
            "content": content,
            "role": "tool",
        }
        await self._send("TOOL_CALL_RESULT", **message)
        told = {"id": message["messageId"], "role": "tool", "toolCallId": call_id, "content": content}
        self._messages.append(told)
        self._turn = None

    # -- asking and what came of it

    async def _ask(self, step: Ask) -> None:
        """Propose the calls, show what a resume needs, and end in an interrupt."""
        approvals = []
        for number, call in enumerate(step.calls):
            approvals.append(await self._request(number, call, step))
        await self._send("MESSAGES_SNAPSHOT", messages=self._messages)
        await self._finish({"type": "interrupt", "interrupts": [_interrupt(a) for a in approvals]}, asks=approvals)

    async def _request(self, number: int, call: Call, step: Ask) -> Approval:
        call_id, text = self._id("call"), call.text
        if odd := self._world.take(self.run, "payload", self._on):
            text = PAYLOADS[odd.text("form")]()
        interrupt_id = f"int-{call_id}"
        if self.run.asks_again:  # under the id that the client knows, with other arguments
            text = json.dumps({**call.input, "changed": True}, ensure_ascii=False)
            before = self._world.state.runs[self.run.kind, self.run.continues]
            interrupt_id = list(before.approvals)[number]
        lapse = self._world.take(self.run, "expires", self._on)
        seconds = lapse.number("seconds") if lapse else step.expires_s
        await self._propose(call_id, call.tool, text)
        return Approval(
            kind=self.run.kind,
            run=self.run.id,
            id=interrupt_id,
            tool=call.tool,
            text=text,
            message=call.message,
            call_id=call_id,
            asked_at=time.time(),
            expires_at=None if seconds is None else time.time() + seconds,
            schema=None if step.schema is None else dict(step.schema),
            reason_kind=step.reason,
        )

    async def _results(self, step: Ask, approvals: list[Approval]) -> None:
        """Show what the answers did: the effects themselves happened when the answers were taken."""
        for call, approval in zip(step.calls, approvals, strict=True):
            await self._work(0.4)
            if approval.verdict == "approve":
                arguments = json.loads(approval.edited) if approval.edited else call.input
                await self._result(approval.call_id, call.result(arguments))
            elif approval.verdict == "reject":
                await self._result(approval.call_id, f"{REFUSED} {approval.reason}".strip())
            else:
                await self._result(approval.call_id, UNANSWERED)

    async def _finish(
        self, outcome: Mapping[str, Any], *, result: str = "", asks: list[Approval] | None = None
    ) -> None:
        fields: dict[str, Any] = {**self._run_ids(), "outcome": outcome}
        if result:
            fields["result"] = {"answer": result}
        late = self._world.take(self.run, "late-run-error", self._on)
        await self._send("RUN_FINISHED", **fields, last="waiting" if asks else "finished", asks=asks or [])
        if late is not None:
            void = [{"approval": approval.id, "verdict": "void"} for approval in asks or []]
            self._world.state.record("settled", kind=self.run.kind, run=self.run.id, answers=void)
            await self._send("RUN_ERROR", message="The run could not be saved.", code="LATE_FAILURE", last="failed")

    # -- sending

    async def _send(self, kind: str, *, last: str = "", asks: list[Approval] | None = None, **fields: Any) -> None:
        """One event. Before the last one is sent, what it opens and how it ends are on the disk."""
        assert self._sender is not None
        for approval in asks or []:
            self._world.state.record("asked", **approval.as_record())
        if last:
            self._world.state.record("status", kind=self.run.kind, run=self.run.id, status=last)
        await self._sender.send(encode({"type": kind, **fields}), last=bool(last))
        self.told = self.told or bool(last)
        if self._world.take(self.run, "unknown-event", self._on):
            await self._sender.send(encode({"type": "TELEMETRY_TICK", "tokens": 17}))

    async def _work(self, seconds: float) -> None:
        """While a tool runs: nothing but comments."""
        assert self._sender is not None
        if self._world.pace.real:
            await self._sender.rest(seconds)

    def _run_ids(self) -> dict[str, Any]:
        return {"threadId": self.run.thread, "runId": self.run.id}

    def _id(self, word: str) -> str:
        return f"{word}-{self._ids.getrandbits(64):016x}"


def _interrupt(approval: Approval) -> dict[str, Any]:
    """The Interrupt object; optional keys without a value are left out."""
    interrupt: dict[str, Any] = {"id": approval.id, "reason": approval.reason_kind, "toolCallId": approval.call_id}
    if approval.message:
        interrupt["message"] = approval.message
    if approval.schema is not None:
        interrupt["responseSchema"] = approval.schema
    if approval.expires_at is not None:
        at = datetime.fromtimestamp(approval.expires_at, UTC)
        interrupt["expiresAt"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return interrupt


def encode(event: Mapping[str, Any]) -> bytes:
    """`data:` and nothing else; a text that UTF-8 cannot hold goes as escapes."""
    try:
        return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
    except UnicodeEncodeError:
        return f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
