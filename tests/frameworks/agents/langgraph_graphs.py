"""LangGraph graphs over a scripted model: a node that asks by itself, and the middleware for people in the loop."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NotRequired
from uuid import uuid4

import recorder
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

ANSWER = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object"},
        "reason": {"type": "string"},
    },
    "required": ["approved"],
}


class Said(TypedDict):
    """The same as a type, which LangGraph itself tells and checks."""

    approved: bool
    reason: NotRequired[str]


TOOLS = {"send_email": recorder.send_email, "delete_records": recorder.delete_records}


class Scripted(BaseChatModel):
    """Asks for the tools that the user's words name; behind their results it says that it is done."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "Scripted":
        return self

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        words, answered = "", 0  # without any: an answer came to a thread that is not known
        for message in messages:
            if isinstance(message, HumanMessage):
                words, answered = message.text, 0
            answered += isinstance(message, ToolMessage)
        calls = recorder.next_calls(words, answered)
        yield ChatGenerationChunk(message=AIMessageChunk(content="I will do that. " if calls else "Done."))
        for index, (name, arguments) in enumerate(calls):
            spelled, call_id = json.dumps(arguments), f"call_{uuid4().hex[:12]}"
            yield _chunk(name=name, args="", id=call_id, index=index)
            for piece in (spelled[:25], spelled[25:]):
                yield _chunk(name=None, args=piece, id=None, index=index)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return generate_from_stream(self._stream(messages))


def _chunk(**call: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(**call)]))


async def model(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await Scripted().ainvoke(state["messages"])]}


def asking_node(tells: Literal["schema", "type", "nothing"], checkpointer: Any = None) -> Any:
    """A node that asks for one call after the other and runs those that were approved.

    tells: how it says what it takes for an answer: in what it asks, beside it, or not at all.
    """

    async def review(state: MessagesState) -> dict[str, Any]:
        asked = state["messages"][-1].tool_calls
        answers = [_asked(call, tells) for call in asked]
        done = []
        for call, said in zip(asked, answers, strict=True):
            yes = isinstance(said, dict) and said.get("approved") is True
            result = TOOLS[call["name"]](**(said.get("editedArgs") or call["args"])) if yes else f"denied: {said}"
            done.append(ToolMessage(result, tool_call_id=call["id"], name=call["name"]))
        return {"messages": done}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("review", review)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: "review" if state["messages"][-1].tool_calls else END)
    graph.add_edge("review", "model")
    return graph.compile(checkpointer=checkpointer)


def _asked(call: Any, tells: str) -> Any:
    question = {"name": call["name"], "args": call["args"], "message": "May this run?"}
    if tells == "type":
        return interrupt(question, response_schema=Said)
    return interrupt(
        {**question, "toolCallId": call["id"], "responseSchema": ANSWER} if tells == "schema" else question
    )


def middleware(mode: str, checkpointer: Any = None) -> Any:
    """An agent whose tools are gated by the middleware."""
    gate = HumanInTheLoopMiddleware(interrupt_on=dict.fromkeys(TOOLS, True), interrupt_mode=mode)
    tools = [tool(one) for one in TOOLS.values()]
    return create_agent(Scripted(), tools=tools, middleware=[gate], checkpointer=checkpointer)
