"""Google ADK behind its AG-UI adapter: `/` tells its pauses as interrupts, `/defaults` by a made-up call alone.

At `/edit` a tool asks by itself, with its arguments as the payload that comes back with a yes, changed or not; at
`/payload` with one that is not its arguments.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import recorder
from ag_ui_adk import ADKAgent, add_adk_fastapi_endpoint
from fastapi import FastAPI
from google.adk.agents import LlmAgent
from google.adk.apps import App, ResumabilityConfig
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.tools import FunctionTool, ToolContext
from google.genai import types


class Scripted(BaseLlm):
    """Asks for the tools that the user's words name; behind their results it says that it is done."""

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        said, answered = "", 0
        for content in llm_request.contents:
            results = sum(part.function_response is not None for part in content.parts or [])
            answered += results
            if content.role == "user" and not results:
                said, answered = " ".join(part.text or "" for part in content.parts or []), 0
        calls = recorder.next_calls(said, answered)
        parts = [types.Part(text="I will do that." if calls else "Done.")]
        for name, arguments in calls:
            call = types.FunctionCall(id=f"call_{uuid4().hex[:12]}", name=name, args=arguments)
            parts.append(types.Part(function_call=call))
        yield LlmResponse(content=types.Content(role="model", parts=parts), partial=False, turn_complete=True)


def send_email(to: str, subject: str, body: str, tool_context: ToolContext) -> dict[str, Any]:
    """Send an e-mail, if a person agrees; with what the person made of it."""
    said = tool_context.tool_confirmation
    if said is None:
        asked = {"to": to, "subject": subject, "body": body}
        tool_context.request_confirmation(hint="Send this e-mail?", payload=asked)
        return {"status": "a person is asked"}
    if said.confirmed is not True:
        return {"status": "denied"}
    return {"result": recorder.send_email(**(said.payload or {"to": to, "subject": subject, "body": body}))}


def send_to(subject: str, body: str, tool_context: ToolContext) -> dict[str, Any]:
    """Send an e-mail to whom a person names."""
    said = tool_context.tool_confirmation
    if said is None:
        tool_context.request_confirmation(hint="To whom?", payload={"to": ""})
        return {"status": "a person is asked"}
    if said.confirmed is not True:
        return {"status": "denied"}
    return {"result": recorder.send_email(said.payload["to"], subject, body)}


def clerk(name: str, tools: Sequence[Any], *, outcome: bool, resumable: bool = False) -> ADKAgent:
    """A tool that asks by itself needs an app that can resume: else its request is not kept, and the answer fails."""
    agent = LlmAgent(name=name, model=Scripted(model="scripted"), tools=list(tools))
    kept = ResumabilityConfig(is_resumable=True) if resumable else None
    app = App(name=name, root_agent=agent, resumability_config=kept)
    return ADKAgent.from_app(app, user_id="user", use_in_memory_services=True, emit_interrupt_outcome=outcome)


GATED = [FunctionTool(gated, require_confirmation=True) for gated in (recorder.send_email, recorder.delete_records)]

send_to_whom = FunctionTool(send_to)
send_to_whom.name = "send_email"

app = FastAPI()
add_adk_fastapi_endpoint(app, clerk("defaults", GATED, outcome=False), path="/defaults")
add_adk_fastapi_endpoint(
    app, clerk("edit", [FunctionTool(send_email), GATED[1]], outcome=True, resumable=True), path="/edit"
)
add_adk_fastapi_endpoint(app, clerk("payload", [send_to_whom], outcome=False, resumable=True), path="/payload")
add_adk_fastapi_endpoint(app, clerk("outcome", GATED, outcome=True), path="/")

if __name__ == "__main__":
    recorder.serve(app)
