"""AWS Strands behind its AG-UI adapter: `/` gates tools by the adapter's setting, `/native` asks inside the tool."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import recorder
from ag_ui_strands import StrandsAgent, StrandsAgentConfig, ToolBehavior, add_strands_fastapi_endpoint
from fastapi import FastAPI
from strands import Agent, ToolContext, tool
from strands.models import Model


class Scripted(Model):
    """Asks for the tools that the user's words name; behind their results it says that it is done."""

    def update_config(self, **_: Any) -> None:
        pass

    def get_config(self) -> dict[str, Any]:
        return {"model_id": "scripted"}

    async def structured_output(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError  # the base class wants it; no agent here asks for structured output
        yield

    async def stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
        last = messages[-1]["content"]
        answered = any("toolResult" in block for block in last)
        calls = [] if answered else recorder.wanted(" ".join(block.get("text", "") for block in last))
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {}}}
        yield {"contentBlockDelta": {"delta": {"text": "I will do that. " if calls else "Done."}}}
        yield {"contentBlockStop": {}}
        for name, arguments in calls:
            yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": f"call_{uuid4().hex[:12]}"}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(arguments)}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if calls else "end_turn"}}


def by_setting() -> StrandsAgent:
    gated = {name: ToolBehavior(interrupt_on_call=True) for name, _ in recorder.CALLS.values()}
    tools = [tool(recorder.send_email), tool(recorder.delete_records)]
    return StrandsAgent(
        Agent(model=Scripted(), tools=tools, callback_handler=None),
        name="strands",
        config=StrandsAgentConfig(tool_behaviors=gated),
    )


def by_tool() -> StrandsAgent:
    @tool(context=True)
    def send_email(to: str, subject: str, body: str, tool_context: ToolContext) -> str:
        """Send an e-mail, if a person agrees."""
        call = {"name": "send_email", "args": {"to": to, "subject": subject, "body": body}}
        said = tool_context.interrupt("approval", reason=call).get("response")
        if isinstance(said, dict) and said.get("approved") is True:
            return recorder.send_email(to, subject, body)
        return "denied"

    return StrandsAgent(Agent(model=Scripted(), tools=[send_email], callback_handler=None), name="native")


app = FastAPI()
add_strands_fastapi_endpoint(app, by_tool(), "/native")
add_strands_fastapi_endpoint(app, by_setting(), "/")

if __name__ == "__main__":
    recorder.serve(app)
