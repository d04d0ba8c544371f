"""A LangGraph thread behind its stream: an agent whose calls wait for people, as langgraph-api 0.16.7 tells it.

A question of several calls is one interrupt with `action_requests`; the fault `question-form` makes it one for each
call, or one of the author's own making.
"""

import json
import uuid

from streams.emulator.script import Answers, Ask, Call, Ended, Fail, Pause, Say, Step, Tool, Verdict, begin, go_on
from streams.emulator.state import Approval
from streams.emulator.teller import Teller, data, parsed, ran_with
from streams.emulator.wire import pieces

NO_ANSWERS: Answers = ()
INTERRUPT = "__interrupt__"
DECISIONS = ("approve", "edit", "reject", "respond")


class Agent(Teller):
    """Plays one thread."""

    async def play(self) -> None:
        """Play to the end."""
        await self.begin_run()
        script = self.world.script(self.run)
        step = begin(script)
        while not self.run.ended:
            step = go_on(script, await self._act(step))

    async def begin_run(self) -> None:
        """A run of the platform begins."""
        await self.tell("metadata", data(run_id=str(uuid.UUID(int=self.ids.getrandbits(128))), attempt=1))

    async def _act(self, step: Step | Ended) -> Answers:
        match step:
            case Say(text):
                await self._say(text)
            case Tool(name, arguments, result):
                await self._propose(self._id(), name, json.dumps(arguments))
                await self._result(name, result)
            case Ask():
                return await self._ask(step)
            case Pause(seconds):
                await self.work(seconds)
            case Fail(message, _):
                self.end("failed", "metadata", data(status="run_done", run_id="", error=message))
            case Ended(answer):
                await self._say(answer)
                self.end("finished", "metadata", data(status="run_done", run_id=""))
            case _:  # state, steps and reasoning have no word on this wire
                pass
        return NO_ANSWERS

    async def _say(self, text: str) -> None:
        key = self._id()
        for piece in pieces(text):
            await self.tell(
                "messages", f"[{data(content=piece, type='AIMessageChunk', id=key)},{data(langgraph_node='model')}]"
            )

    async def _propose(self, call_id: str, tool: str, text: str) -> None:
        calls = f'[{{"name":{json.dumps(tool)},"args":{text},"id":"{call_id}","type":"tool_call"}}]'
        message = f'{{"content":"","type":"ai","id":"{self._id()}","tool_calls":{calls}}}'
        await self.tell("updates", f'{{"model":{{"messages":[{message}]}}}}')

    async def _result(self, tool: str, result: str) -> None:
        await self.work(0.4)
        message = data(content=result, type="tool", name=tool, id=self._id())
        await self.tell("messages", f"[{message},{data(langgraph_node='tools')}]")
        await self.tell("updates", f'{{"tools":{{"messages":[{message}]}}}}')

    def _id(self) -> str:
        return f"{self.ids.getrandbits(64):016x}"

    # -- asking

    async def _ask(self, step: Ask) -> Answers:
        """Interrupt, wait until each is answered, and tell what came of each call."""
        style = self.world.take(self.run, "question-form", "stream")
        form = style.text("form") if style else "batched"
        groups = [[call] for call in step.calls] if form != "batched" else [list(step.calls)]
        asked: list[tuple[Call, Approval]] = []
        for calls in groups:
            interrupt = f"{self.ids.getrandbits(128):032x}"
            names = [interrupt] if len(calls) == 1 else [f"{interrupt}/{place}" for place in range(len(calls))]
            made = [self.asked(name, call) for name, call in zip(names, calls, strict=True)]
            asked += zip(calls, made, strict=True)
            await self.tell("updates", f'{{"{INTERRUPT}":[{_item(interrupt, made, form)}]}}')
        await self.tell("metadata", data(status="run_done", run_id=""))
        self.status("waiting")
        while any(not approval.verdict for _, approval in asked) and not self.run.ended:
            await self.run.news.wait()
        self.status(self.run.status if self.run.ended else "running")
        for call, approval in asked:
            if approval.verdict == "approve" and not self.run.ended:
                await self._result(call.tool, call.result(parsed(ran_with(approval))))
        return tuple(Verdict(approval.verdict, approval.reason) for _, approval in asked)


def _item(interrupt: str, asked: list[Approval], form: str) -> str:
    """The arguments go in as they are, valid or not: their text is what the reviewer's answer is bound to."""
    named = f'"id":"{interrupt}"'
    if form == "own":
        value = f'{{"tool":{json.dumps(asked[0].tool)},"args":{asked[0].text}}}'
        return f'{{"value":{value},{named},"response_schema":null}}'
    calls = [
        f'{{"name":{json.dumps(one.tool)},"args":{one.text},"description":{json.dumps(one.message)}}}' for one in asked
    ]
    if form == "percall":
        value = f'{{"type":"tool_approval","tool_call_id":"call_{interrupt[:8]}",{calls[0][1:]}'
        return f'{{"value":{value},{named},"response_schema":{json.dumps(schema(asked[0].tool))}}}'
    configs = json.dumps([{"action_name": one.tool, "allowed_decisions": DECISIONS} for one in asked])
    value = f'{{"action_requests":[{",".join(calls)}],"review_configs":{configs}}}'
    return f'{{"value":{value},{named},"response_schema":null}}'


def schema(tool: str) -> dict[str, object]:
    """The decisions that a call takes, where each call is an interrupt of its own."""

    def decision(name: str, **more: object) -> dict[str, object]:
        properties = {"type": {"const": name, "type": "string"}, **more}
        return {"type": "object", "properties": properties, "required": ["type"]}

    action = {"type": "object", "properties": {"name": {"const": tool}, "args": {"type": "object"}}}
    return {
        "oneOf": [
            decision("approve"),
            decision("edit", edited_action={**action, "required": ["name", "args"]}),
            decision("reject", message={"type": "string"}),
        ]
    }
