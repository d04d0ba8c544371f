"""Google ADK behind its AG-UI adapter: `/` tells its pauses as interrupts, `/defaults` by a made-up call alone.

`/edit` gates by a tool that asks itself, and takes changed arguments as the payload of a confirmation.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import recorder
from ag_ui_adk import ADKAgent, add_adk_fastapi_endpoint
from fastapi import FastAPI
from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_response import LlmResponse
from google.adk.tools import FunctionTool, ToolContext
from google.genai import types


class Scripted(BaseLlm):
    """Asks for the tools that the user's words name; behind their results it says that it is done."""

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        last = llm_request.contents[-1].parts or []
        answered = any(part.function_response for part in last)
        calls = [] if answered else recorder.wanted(" ".join(part.text or "" for part in last))
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


def clerk(name: str, tools: Sequence[Any], *, outcome: bool) -> ADKAgent:
    return ADKAgent(
        adk_agent=LlmAgent(name=name, model=Scripted(model="scripted"), tools=list(tools)),
        app_name=name,
        user_id="user",
        use_in_memory_services=True,
        emit_interrupt_outcome=outcome,
    )


GATED = [FunctionTool(gated, require_confirmation=True) for gated in (recorder.send_email, recorder.delete_records)]

app = FastAPI()
add_adk_fastapi_endpoint(app, clerk("defaults", GATED, outcome=False), path="/defaults")
add_adk_fastapi_endpoint(app, clerk("edit", [FunctionTool(send_email), GATED[1]], outcome=True), path="/edit")
add_adk_fastapi_endpoint(app, clerk("outcome", GATED, outcome=True), path="/")

if __name__ == "__main__":
    recorder.serve(app)
