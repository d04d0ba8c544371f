"""What the runs of LangGraph and Agno share: a story told into kept frames, which a restart goes on with."""

import json
import random
import time

from streams.emulator.http import Connection, Hangup
from streams.emulator.payloads import PAYLOADS
from streams.emulator.script import Call
from streams.emulator.state import Approval, Run
from streams.emulator.wire import World


class Teller:
    """Tells one run. After a restart it plays the story again from its start and leaves out what was told already."""

    def __init__(self, world: World, run: Run) -> None:
        self.world, self.run = world, run
        self._told = 0  # frames of the story, told now or before the restart
        self.ids = random.Random(f"{run.id} ids")  # noqa: S311 - the same ids after a restart

    async def tell(self, event: str, data: str) -> None:
        """A frame of the story, unless it was told before the restart."""
        self._told += 1
        if self._told <= self.run.told:
            return
        self.frame(event, data)
        if self.world.take(self.run, "unknown-event", "stream"):
            self.frame("telemetry", '{"tokens":17,"model":"unnamed"}', extra=True)
        await self.world.pace.piece()

    def frame(self, event: str, data: str, *, extra: bool = False) -> None:
        """A frame as it is; `extra`: no part of the story."""
        kind, run = self.run.kind, self.run.id
        self.world.state.record("frame", kind=kind, run=run, event=event, data=data, extra=extra, sync=False)

    def end(self, status: str, event: str, data: str) -> None:
        """The last frame and the end are one moment for every reader: nothing is awaited between them."""
        self._told += 1
        if self._told > self.run.told:
            self.frame(event, data)
        self.status(status)

    async def work(self, seconds: float) -> None:
        """While a tool runs; what was told before a restart takes no time again."""
        if self._told >= self.run.told:
            await self.world.pace.work(seconds)

    def status(self, status: str) -> None:
        if self.run.status != status:
            self.world.state.record("status", kind=self.run.kind, run=self.run.id, status=status, sync=False)

    def asked(self, approval_id: str, call: Call) -> Approval:
        """The request for one call: recorded first, shown after it."""
        if approval_id not in self.run.approvals:
            odd = self.world.take(self.run, "payload", "stream")
            self.world.state.record(
                "asked",
                kind=self.run.kind,
                run=self.run.id,
                approval=approval_id,
                tool=call.tool,
                text=PAYLOADS[odd.text("form")]() if odd else call.text,
                message=call.message,
                asked_at=time.time(),
            )
        return self.run.approvals[approval_id]


async def drop_after(world: World, run: Run, on: str, connection: Connection) -> None:
    """What was asked is done: lose the answer if a fault says so. Raises Hangup."""
    if fault := world.take(run, "effect-then-drop", on):
        if code := fault.whole("code"):
            await connection.answer_json(code, {"detail": "Something went wrong on our side."})
        else:
            connection.reset()
        raise Hangup


def ran_with(approval: Approval) -> str:
    """The arguments that an approved call runs with."""
    return approval.edited or approval.text


def parsed(text: str) -> dict[str, object]:
    """Arguments as an object, for a tool's result; empty where they are none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def data(**fields: object) -> str:
    """Compact JSON, as these servers write it."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
