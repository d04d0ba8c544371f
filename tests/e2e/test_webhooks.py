"""Webhooks from a real server: the documented receiver takes them, and no kill -9 loses one."""

import json
import os
import random
import select
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from tests import javascript
from tests.countersign import PATIENT_S, ROOT, Countersign, eventually
from tests.e2e.stage import stage
from tests.long_form import LONG

pytestmark = pytest.mark.process

KILLS = 20 if LONG else 4
REQUESTS = 100
SEED = 4711

OPEN_AND_END = f"""
from streams.events import Ended
from streams.models import Provider, Run
from tests.approvals.fakes import asked, tell
provider = Provider.objects.create(name="agent", kind="mindra", base_url="http://127.0.0.1:9", paused=True)
run = Run.objects.create(provider=provider, external_id="x", status="waiting")
for number in range({REQUESTS}):
    tell(run, asked(f"c{{number}}", tool="send_email"), seq=number + 1)
tell(run, Ended("finished"), seq={REQUESTS + 1})
Run.objects.filter(pk=run.pk).update(status="finished", ended_at=run.started_at)
"""


@dataclass
class Receiver:
    """What came: (headers, body), verified when it came; and what is done before an answer leaves."""

    url: str = ""
    secret: str = ""
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    before_answering: Callable[[], None] = lambda: None  # noqa: E731
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, headers: dict[str, str], body: bytes) -> None:
        with self.lock:
            try:
                standardwebhooks.Webhook(self.secret).verify(body, headers)
            except standardwebhooks.WebhookVerificationError as exc:
                self.wrong.append(f"{exc}: {headers}")
            self.heard.append((headers, body))
            self.before_answering()

    @property
    def ids(self) -> set[str]:
        return {headers["webhook-id"] for headers, _ in self.heard}


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve on loopback until the block is left."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if len(body) < int(self.headers["content-length"]):
                return  # it was killed while it wrote
            made.take({name.lower(): value for name, value in self.headers.items()}, body)
            try:
                self.send_response(204)
                self.end_headers()
            except OSError:
                pass  # it was killed

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def deliveries(house: Countersign) -> dict[str, tuple[str, int]]:
    """State and tries of each webhook, by its message id."""
    uri = f"file:{house.data_dir / 'countersign.sqlite3'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=20)) as database:
        rows = database.execute("SELECT id, state, attempts FROM approvals_delivery WHERE kind = 'webhook'").fetchall()
    return {f"msg_{key}": (state, attempts) for key, state, attempts in rows}


@contextmanager
def holding(house: Countersign) -> Iterator["subprocess.Popen[bytes]"]:
    """`manage.py hold` on the data of a server that does not run."""
    with house.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "hold"], cwd=ROOT, env=house.env, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENT_S)


def test_no_kill_loses_a_webhook_and_a_repeat_has_the_same_id(tmp_path: Path) -> None:
    """The process dies by kill -9 while it sends, each time before a webhook that arrived is answered."""
    chance = random.Random(SEED)
    with receiver() as there:
        house = Countersign(tmp_path / "data", env={"COUNTERSIGN_WEBHOOK_HOSTS": "127.0.0.1"})
        house.start()
        house.stop()
        there.secret = house.command("webhooks", "add", there.url).strip()
        house.command("shell", "-c", OPEN_AND_END)
        expected = set(deliveries(house))
        assert len(expected) == 2 * REQUESTS
        for _ in range(KILLS):
            with holding(house) as process:
                until = len(there.heard) + chance.randint(1, 8)

                def kill(process: "subprocess.Popen[bytes]" = process, until: int = until) -> None:
                    if len(there.heard) >= until:
                        process.kill()

                there.before_answering = kill
                assert process.wait(PATIENT_S) == -9, house.log.read_text()[-3000:]
        there.before_answering = lambda: None
        with holding(house):
            eventually(lambda: {state for state, _ in deliveries(house).values()} == {"delivered"}, within_s=120)

    assert there.wrong == []
    assert there.ids == expected
    assert len(there.heard) >= len(expected) + KILLS, "what was not answered came again"
    bodies: dict[str, bytes] = {}
    told: dict[str, list[str]] = {}
    for headers, body in there.heard:
        assert bodies.setdefault(headers["webhook-id"], body) == body
        said = json.loads(body)
        told.setdefault(said["data"]["id"], []).append(said["type"])
    assert len(told) == REQUESTS
    for kinds in told.values():
        assert set(kinds) == {"approval.pending", "approval.settled"}
        assert kinds == sorted(kinds), "pending first"
    assert "Traceback" not in house.log.read_text()
    javascript.accepts([(there.secret, headers, body) for headers, body in there.heard])


@contextmanager
def documented_receiver(secret: Callable[[int], str]) -> Iterator["subprocess.Popen[str]"]:
    """docs/webhook_receiver.py as its reader starts it; `secret` is asked for when its port is known."""
    with receiver() as probe:
        port = int(probe.url.rsplit(":", 1)[1].split("/")[0])
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "docs" / "webhook_receiver.py"), str(port)],
        env={"PATH": os.environ.get("PATH", ""), "WEBHOOK_SECRET": secret(port)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("listening on")
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENT_S)


def line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next webhook that it printed."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENT_S)
    assert ready, "no webhook came"
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said


def test_the_documented_receiver_hears_of_a_request_until_it_is_settled(tmp_path: Path) -> None:
    with stage(tmp_path, env={"COUNTERSIGN_WEBHOOK_HOSTS": "127.0.0.1"}) as on:
        url = ""

        def add(port: int) -> str:
            nonlocal url
            url = f"http://127.0.0.1:{port}/"
            return on.house.command("webhooks", "add", url).strip()

        with documented_receiver(add) as process:
            said = on.house.command("webhooks", "test", url)
            assert said == f"{url}: ok: HTTP 204\n"
            assert (line(process)["type"], url) == ("webhook.test", url)
            asked = on.asked(on.start("the-mindra", "outbound-email"))[0]
            pending = line(process)
            assert pending["type"] == "approval.pending"
            assert pending["data"] == {
                "id": asked["id"], "run_id": asked["run_id"], "provider": "the-mindra", "tool_name": asked["tool_name"],
                "tier": asked["tier"], "status": "pending", "url": f"{on.house.url}/requests/{asked['id']}/",
            }  # fmt: skip
            with closing(on.house.pages()) as page:
                assert page.get(pending["data"]["url"]).status_code == 200
            on.approve(asked)
            settled = line(process)
            assert (settled["type"], settled["data"]["id"]) == ("approval.settled", asked["id"])
            assert settled["data"]["status"] == "deciding"
            assert settled["timestamp"] > pending["timestamp"]
            on.becomes(asked["id"], "delivered")
        with pytest.raises(RuntimeError, match="1 of 1 not delivered"):
            on.house.command("webhooks", "test")
        (listed,) = json.loads(on.house.command("webhooks", "list", "--json"))
        assert (listed["url"], listed["waiting"], listed["disabled_at"]) == (url, 0, None)
        assert "Traceback" not in on.house.log.read_text()
