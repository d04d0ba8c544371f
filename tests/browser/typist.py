"""An AG-UI agent that says what a test hands it, word for word and when it is handed over."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Typist:
    """One message of one run. `say(None)` ends the run."""

    url: str = ""
    said: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    def say(self, *parts: str | None) -> None:
        for part in parts:
            self.said.put(part)


@contextmanager
def typist() -> Iterator[Typist]:
    """Serve one."""
    made = Typist()

    class Agent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ids = {"threadId": asked["threadId"], "runId": asked["runId"]}
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self._tell(type="RUN_STARTED", **ids)
            self._tell(type="TEXT_MESSAGE_START", messageId="m1", role="assistant")
            while (part := made.said.get()) is not None:
                self._tell(type="TEXT_MESSAGE_CONTENT", messageId="m1", delta=part)
            self._tell(type="TEXT_MESSAGE_END", messageId="m1")
            self._tell(type="RUN_FINISHED", **ids)

        def _tell(self, **event: Any) -> None:
            self.wfile.write(f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}/agent"
        try:
            yield made
        finally:
            made.say(None)
            server.shutdown()
            thread.join()
