"""Microsoft's agent framework behind its AG-UI endpoint: tools that always need approval."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import recorder
from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
    tool,
)
from agent_framework.ag_ui import add_agent_framework_fastapi_endpoint
from fastapi import FastAPI


class Scripted(FunctionInvocationLayer[Any], BaseChatClient[Any]):
    """Asks for the tools that the user's words name; behind their results it says that it is done."""

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_: Any
    ) -> Any:
        said, answered = "", 0
        for message in messages:
            results = sum(content.type == "function_result" for content in message.contents)
            said, answered = (message.text, 0) if message.role == "user" else (said, answered + results)
        calls = recorder.next_calls(said, answered)
        contents = [Content.from_text("I will do that." if calls else "Done.")] + [
            Content.from_function_call(f"call_{uuid4().hex[:12]}", name, arguments=arguments)
            for name, arguments in calls
        ]

        async def updates() -> AsyncIterator[ChatResponseUpdate]:
            for content in contents:
                yield ChatResponseUpdate(role="assistant", contents=[content], message_id="said")

        async def whole() -> ChatResponse:
            return ChatResponse(messages=[Message(role="assistant", contents=contents)])

        return ResponseStream(updates(), finalizer=ChatResponse.from_updates) if stream else whole()


def gated() -> Agent:
    tools = [tool(made, approval_mode="always_require") for made in (recorder.send_email, recorder.delete_records)]
    return Agent(client=Scripted(), name="mail", instructions="Help.", tools=tools)


app = FastAPI()
add_agent_framework_fastapi_endpoint(app, gated(), "/", single_user=True)

if __name__ == "__main__":
    recorder.serve(app)
