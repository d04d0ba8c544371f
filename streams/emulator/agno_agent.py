"""An Agno agent behind its run's stream: it pauses for calls that people confirm, as agno 3.1.10 tells it."""

import json

from streams.emulator.script import Answers, Ask, Ended, Fail, Pause, Say, Step, Think, Tool, Verdict, begin, go_on
from streams.emulator.state import Approval
from streams.emulator.teller import Teller, data, parsed, ran_with
from streams.emulator.wire import pieces

NO_ANSWERS: Answers = ()


class Agent(Teller):
    """Plays one run."""

    async def play(self) -> None:
        """Play to the end."""
        await self.say("RunStarted", model="scripted")
        script = self.world.script(self.run)
        step = begin(script)
        while not self.run.ended:
            step = go_on(script, await self._act(step))

    async def say(self, event: str, **more: object) -> None:
        """An event of the story; its index is its place."""
        await self.tell(event, self.event(event, **more))

    def event(self, name: str, raw: str = "", /, **more: object) -> str:
        """An event's data. `raw`: further fields as they are."""
        known = {"created_at": int(self.run.at), "event": name, "agent_id": self.run.subject}
        spelled = data(**known, run_id=self.run.id, session_id=self.run.thread, **more)
        return f'{spelled[:-1]}{raw},"event_index":{len(self.run.frames)}}}'

    async def _act(self, step: Step | Ended) -> Answers:
        match step:
            case Say(text):
                await self._content(text)
            case Think(text):
                await self.say("RunContent", content="", reasoning_content=text)
            case Tool(name, arguments, result):
                await self._use(f"call_{self.ids.getrandbits(48):012x}", name, json.dumps(arguments), result)
            case Ask():
                return await self._ask(step)
            case Pause(seconds):
                await self.work(seconds)
            case Fail(message, _):
                self.end("failed", "RunError", self.event("RunError", content=message))
            case Ended(answer):
                await self._content(answer)
                self.end("finished", "RunCompleted", self.event("RunCompleted", content=answer))
            case _:  # state and steps have no word on this wire
                pass
        return NO_ANSWERS

    async def _content(self, text: str) -> None:
        for piece in pieces(text):
            await self.say("RunContent", content=piece, content_type="str")

    async def _use(self, call_id: str, tool: str, text: str, result: str, *, confirmed: bool | None = None) -> None:
        told = tool_object(call_id, tool, text, confirmed=confirmed, asks=False)
        await self.tell("ToolCallStarted", self.event("ToolCallStarted", f',"tool":{told}'))
        await self.work(0.4)
        told = tool_object(call_id, tool, text, confirmed=confirmed, asks=False, result=result)
        await self.tell("ToolCallCompleted", self.event("ToolCallCompleted", f',"tool":{told}'))

    async def _ask(self, step: Ask) -> Answers:
        """Pause, wait for the one answer to all of it, and tell what came of each call."""
        asked = [(call, self.asked(f"call_{self.ids.getrandbits(48):012x}", call)) for call in step.calls]
        tools = ",".join(tool_of(one) for one in self.run.approvals.values())
        await self.tell("RunPaused", self.event("RunPaused", f',"tools":[{tools}]'))
        if any(not approval.verdict for _, approval in asked):
            self.status("waiting")
        while any(not approval.verdict for _, approval in asked):
            await self.run.news.wait()
        self.status("running")
        await self.say("RunContinued")
        for call, approval in asked:
            if approval.verdict == "approve":
                result = call.result(parsed(ran_with(approval)))
                await self._use(approval.id, approval.tool, ran_with(approval), result, confirmed=True)
        return tuple(Verdict(approval.verdict, approval.reason) for _, approval in asked)


def tool_of(approval: Approval) -> str:
    """A tool of the run, as it stands: waiting, refused, or done."""
    confirmed = {"approve": True, "reject": False}.get(approval.verdict)
    result = "done" if approval.verdict == "approve" else None
    waits = not approval.verdict
    return tool_object(approval.id, approval.tool, ran_with(approval), confirmed=confirmed, asks=waits, result=result)


def tool_object(
    call_id: str, tool: str, text: str, *, confirmed: bool | None, asks: bool, result: str | None = None
) -> str:
    """The arguments go in as they are, valid or not: their text is what the reviewer's answer is bound to."""
    head = f'"tool_call_id":{json.dumps(call_id)},"tool_name":{json.dumps(tool)},"tool_args":{text}'
    rest = data(
        tool_call_error=None,
        result=result,
        requires_confirmation=asks,
        confirmed=confirmed,
        confirmation_note=None,
        requires_user_input=None,
        external_execution_required=None,
    )
    return f"{{{head},{rest[1:]}"
