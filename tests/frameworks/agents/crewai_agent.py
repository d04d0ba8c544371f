"""CrewAI flows behind their AG-UI adapter: a method of a flow returns the call, and waits for words on it.

`/` takes free text, for one call after the other; `/emit` one of a list of outcomes, which a model makes of the text;
`/default` is `/` with the adapter's own settings, which tell the pause in a CUSTOM event alone.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import recorder


class Classifier(BaseHTTPRequestHandler):
    """The model that reads feedback: the outcome is the first of the list that the feedback names."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        feedback, _, outcomes = asked["messages"][-1]["content"].partition("Possible outcomes")
        found = next((word for word in ("approved", "rejected") if word in feedback and word in outcomes), "")
        call = {"name": asked["tools"][0]["function"]["name"], "arguments": json.dumps({"outcome": found})}
        message = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
        body = json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "scripted",
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


model = ThreadingHTTPServer(("127.0.0.1", 0), Classifier)
Thread(target=model.serve_forever, daemon=True).start()
os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_KEY": "none",
    "OPENAI_BASE_URL": f"http://127.0.0.1:{model.server_port}/v1",
    "OTEL_SDK_DISABLED": "true",
    "XDG_DATA_HOME": os.getcwd(),
}

from ag_ui_crewai import CopilotKitState, add_crewai_flow_fastapi_endpoint, agui_feedback_provider  # noqa: E402
from crewai.flow.flow import Flow, listen, router, start  # noqa: E402
from crewai.flow.human_feedback import HumanFeedbackResult, human_feedback  # noqa: E402
from crewai.flow.persistence import SQLiteFlowPersistence  # noqa: E402
from crewai.flow.persistence.factory import set_flow_persistence_factory  # noqa: E402
from fastapi import FastAPI  # noqa: E402


class Mail(Flow[CopilotKitState]):
    """What both flows know; a flow's steps are its own class's alone."""

    def calls(self) -> list[Any]:
        return recorder.wanted(self.state.messages[0]["content"])

    def proposal(self, number: int) -> dict[str, Any]:
        name, arguments = self.calls()[number]
        return {"tool": name, "arguments": arguments}

    def follows(self, result: HumanFeedbackResult) -> None:
        if result.feedback == "approved":
            self.does(result.output)
        else:
            self.says("Not done.")

    def does(self, call: dict[str, Any]) -> None:
        self.says(getattr(recorder, call["tool"])(**call["arguments"]))

    def says(self, words: str) -> None:
        self.state.messages.append({"role": "assistant", "content": words})


class Free(Mail):
    @start()
    def begin(self) -> None:
        pass

    @router(begin)
    def what(self) -> str:
        return "wanted" if self.calls() else "chat"

    @listen("chat")
    def greet(self) -> None:
        self.says("Hello.")

    @listen("wanted")
    @human_feedback(message="May this be done?", provider=agui_feedback_provider)
    def propose(self) -> dict[str, Any]:
        return self.proposal(0)

    @router(propose)
    def act(self, result: HumanFeedbackResult) -> str:
        self.follows(result)
        return "more" if len(self.calls()) > 1 else "enough"

    @listen("more")
    @human_feedback(message="And this?", provider=agui_feedback_provider)
    def propose_next(self) -> dict[str, Any]:
        return self.proposal(1)

    @listen(propose_next)
    def act_next(self, result: HumanFeedbackResult) -> None:
        self.follows(result)


class Classified(Mail):  # its first steps are those of Free: CrewAI runs no step that a flow inherits
    @start()
    def begin(self) -> None:
        pass

    @router(begin)
    def what(self) -> str:
        return "wanted" if self.calls() else "chat"

    @listen("chat")
    def greet(self) -> None:
        self.says("Hello.")

    @listen("wanted")
    @human_feedback(
        message="May this be done?",
        provider=agui_feedback_provider,
        emit=["approved", "rejected"],
        llm="openai/scripted",
    )
    def propose(self) -> dict[str, Any]:
        return self.proposal(0)

    @listen("approved")
    def act(self, result: HumanFeedbackResult) -> None:
        self.does(result.output)

    @listen("rejected")
    def leave(self) -> None:
        self.says("Not done.")


set_flow_persistence_factory(lambda: SQLiteFlowPersistence("flows.db"))
app = FastAPI()
add_crewai_flow_fastapi_endpoint(app, Classified(), "/emit", emit_interrupt_outcome=True)
add_crewai_flow_fastapi_endpoint(app, Free(), "/default")
add_crewai_flow_fastapi_endpoint(app, Free(), "/", emit_interrupt_outcome=True)

if __name__ == "__main__":
    recorder.serve(app)
