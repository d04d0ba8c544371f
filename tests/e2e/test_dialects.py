"""A server that pauses as LangGraph's does and may not keep to what was approved, against a Countersign of its own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.countersign import eventually
from tests.dialects import pauses
from tests.e2e.stage import Row, Stage

pytestmark = [pytest.mark.long, pytest.mark.process]
PROPOSED = json.loads(pauses.ARGUMENTS)
CHANGED = {"to": "bo@shop.example", "cents": 900}


def events(body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the server tells: a pause; behind an answer the call as it ran. The task says how it behaves."""
    ids = {"threadId": body["threadId"], "runId": body["runId"]}
    begins, ends = {"type": "RUN_STARTED", **ids}, {"type": "RUN_FINISHED", **ids}
    task = body["messages"][0]["content"] if body["messages"] else ""
    if not body.get("resume"):
        asks = pauses.strands() if "strands" in task else pauses.per_call("approve", "edit", "reject")
        paused = {**ends, "outcome": {"type": "interrupt", "interrupts": [asks]}}
        return [begins, *(json.loads(frame.data) for frame in pauses.mail()), paused]
    said = body["resume"][0]["payload"]
    edited = said["edited_action"]["args"] if said["type"] == "edit" else PROPOSED
    ran = edited if body["state"].get("honest") else PROPOSED
    told = [*pauses.mail(arguments=json.dumps(ran)), pauses.result()]
    return [begins, *(json.loads(frame.data) for frame in told), ends]


class Handler(BaseHTTPRequestHandler):
    honest: set[str] = set()  # threads on which changes are honoured

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "honest" in str(body["messages"]):
            self.honest.add(body["threadId"])
        body["state"] = {"honest": body["threadId"] in self.honest}
        stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events(body)).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(stream)))
        self.end_headers()
        self.wfile.write(stream)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def account(on: Stage, name: str) -> Row:
    (row,) = [row for row in json.loads(on.house.command("providers", "list", "--json")) if row["name"] == name]
    found: Row = row
    return found


def start(on: Stage, task: str) -> str:
    answer = on.api.post("runs", json={"provider": "graph", "task": task})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def shown(on: Stage, asked: Row) -> Row:
    """The request, once its stream showed what ran."""
    return eventually(lambda: row if (row := on.request(asked["id"]))["ran"] else {}, why=str(on.request(asked["id"])))


def test_what_ran_is_told_apart_from_what_was_approved(on: Stage) -> None:
    with serving() as url:
        on.provider("graph", "agui", url)
        ignored, honoured = start(on, "ignores changes"), start(on, "honest")
        asked = [on.asked(run)[0] for run in (ignored, honoured)]
        assert account(on, "graph")["dialect"] == "langgraph"
        assert {row["dialect"]["name"] for row in asked} == {"langgraph-percall"}
        for row in asked:
            on.approve(row, edited_input=CHANGED)
        bad, good = (shown(on, row) for row in asked)
        assert (bad["ran"], json.loads(bad["ran_input_text"]), bad["status"]) == ("otherwise", PROPOSED, "delivered")
        assert (good["ran"], good["ran_input_text"]) == ("as_approved", None)
        on.ended(ignored)
        assert on.remarks(on.chain(ignored)[-1]["id"]).count("other_arguments") == 1
        assert "other_arguments" not in on.remarks(on.chain(honoured)[-1]["id"])

        other = start(on, "strands")
        on.ended(other, "truncated")
        assert on.remarks(other).count("other_dialect") == 1
        assert [row["status"] for row in on.requests(other)] == ["stale"]
        (row,) = on.requests(other)
        assert "looks like strands" in row["cannot"]["approve"]
