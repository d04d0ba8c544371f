"""Middesk's events, sent to a receiver of ours (contract: docs.middesk.com build/webhooks, read 2026-11)."""

import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import pytest

from streams.emulator.middesk_webhooks import refuse_url
from tests.emulator import ROOT, emulator
from tests.streams.emulator.clients import MiddeskClient, wait_for
from tests.streams.emulator.test_middesk import RUN_FIELDS, refusal

SECRET = "a secret of ours"  # noqa: S105 - of this test only
QUIET = "industry_classification"


class Post:
    """One delivery."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers, self.body = headers, body
        self.event: dict[str, Any] = json.loads(body)
        self.run: dict[str, Any] = self.event["data"]["object"]

    @property
    def type(self) -> str:
        return str(self.event["type"])

    @property
    def signature(self) -> str:
        return self.headers.get("x-middesk-signature-256", "")


class Receiver(ThreadingHTTPServer):
    """Keeps what comes; `statuses` are answered first, then 204."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hooks?from=middesk"
        self.posts: list[Post] = []
        self.statuses: list[int] = []

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer asks for the host's name too, which may take long
        self.server_port = self.socket.getsockname()[1]

    def wait(self, count: int) -> list[Post]:
        wait_for(lambda: len(self.posts) >= count)
        return self.posts


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        post = Post({name.lower(): value for name, value in self.headers.items()}, body)
        assert self.path == "/hooks?from=middesk"
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.server.posts.append(post)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    with Receiver(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def client(hooks: Receiver) -> Iterator[MiddeskClient]:
    """An emulator that was told the receiver's address at its start."""
    told = ["--middesk-webhook", hooks.url, "--middesk-webhook-secret", SECRET]
    with emulator("middesk", args=told) as running, MiddeskClient(running) as middesk:
        yield middesk


def signed(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_a_run_tells_created_interrupted_and_completed_signed_over_the_raw_body(
    client: MiddeskClient, hooks: Receiver
) -> None:
    run = client.start("tin_verification")
    asked = client.asked(run)
    client.resume(run, asked["id"])
    posts = hooks.wait(3)
    assert [post.type for post in posts] == ["run.created", "run.interrupted", "run.completed"]
    assert [post.run["status"] for post in posts] == ["running", "interrupted", "completed"]
    for post in posts:
        assert set(post.event) == {"object", "id", "type", "data", "created_at"}
        assert set(post.run) == RUN_FIELDS | {"steps"}
        assert (post.event["object"], post.run["id"], post.run["steps"]) == ("event", run, [])
        assert post.headers["x-correlation-id"] == run
        assert post.signature == signed(post.body)
    assert posts[1].run["interrupts"] == [asked]
    assert len({post.event["id"] for post in posts}) == 3


def test_a_failed_run_is_completed_with_status_error(client: MiddeskClient, hooks: Receiver) -> None:
    client.start("registry_search")
    last = hooks.wait(2)[-1]
    assert (last.type, last.run["status"]) == ("run.completed", "error")


def test_an_event_that_is_not_taken_comes_again_the_same(client: MiddeskClient, hooks: Receiver) -> None:
    hooks.statuses = [500, 302, 404]
    client.start(QUIET)
    posts = hooks.wait(5)
    by_id: dict[str, set[bytes]] = {}
    for post in posts:
        by_id.setdefault(post.event["id"], set()).add(post.body)
    assert (len(by_id), [len(bodies) for bodies in by_id.values()]) == (2, [1, 1])


def test_an_endpoint_can_be_registered_for_some_events_listed_and_removed(
    client: MiddeskClient, hooks: Receiver
) -> None:
    with receiver() as other:
        body = {"url": other.url, "enabled_events": ["run.completed"], "secret": "another"}
        answer = client.post("webhooks", body)
        assert answer.status_code == 201
        made = answer.json()
        assert (made["object"], made["url"], "secret" in made) == ("webhook", other.url, False)
        assert made in client.http.get(f"{client.base}/webhooks").json()["data"]
        assert client.http.get(f"{client.base}/webhooks/{made['id']}").json() == made
        client.start(QUIET)
        (post,) = other.wait(1)
        assert (post.type, post.signature) == ("run.completed", signed(post.body, "another"))
        assert client.http.delete(f"{client.base}/webhooks/{made['id']}").json() == made
        assert refusal(client.http.get(f"{client.base}/webhooks/{made['id']}"))[0] == 404
        assert refusal(client.http.delete(f"{client.base}/webhooks/at-start"))[0] == 404


def test_identifiers_are_scalar_fields_only(client: MiddeskClient) -> None:
    with receiver() as other:
        body = {"url": other.url, "enabled_events": ["run.interrupted"], "include": "identifiers"}
        assert client.post("webhooks", body).status_code == 201
        run = client.start("tin_verification")
        (post,) = other.wait(1)
    assert (post.run["id"], post.run["status"]) == (run, "interrupted")
    assert not {"interrupts", "steps", "requester"} & set(post.run)
    assert post.signature == ""  # no secret, no signature


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"enabled_events": ["*"]}, "url"),
        ({"url": "http://192.0.2.7/x", "enabled_events": ["*"]}, "url"),
        ({"url": "http://127.0.0.1/x"}, "enabled_events"),
        ({"url": "http://127.0.0.1/x", "enabled_events": ["run.failed"]}, "enabled_events"),
        ({"url": "http://127.0.0.1/x", "enabled_events": ["*"], "secret": 5}, "secret"),
        ({"url": "http://127.0.0.1/x", "enabled_events": ["*"], "include": "all"}, "include"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(middesk: MiddeskClient, body: dict[str, Any], parameter: str) -> None:
    assert refusal(middesk.post("webhooks", body)) == (422, parameter)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/x", "http://127.9.9.9/", "http://[::1]:80/", "http://localhost"]
)
def test_this_machine_may_be_called(url: str) -> None:
    assert refuse_url(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://169.254.169.254/",
        "http://middesk.example/",
        "http://127.0.0.1.example/",
        "http://2130706433/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/\u00e4",
    ],
)
def test_nothing_but_this_machine_may_be_called(url: str) -> None:
    assert refuse_url(url)


def test_an_address_elsewhere_stops_the_start() -> None:
    command = [sys.executable, "-m", "streams.emulator", "middesk", "--middesk-webhook", "http://192.0.2.7/"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Only this machine's own addresses are called." in done.stderr


def test_what_had_not_arrived_is_sent_after_a_kill_and_registrations_stay(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with emulator("middesk", state=tmp_path) as first, MiddeskClient(first) as middesk:
            url = f"http://127.0.0.1:{port}/hooks?from=middesk"
            assert middesk.post("webhooks", {"url": url, "enabled_events": ["*"], "secret": SECRET}).status_code == 201
            run = middesk.start("tin_verification")
            middesk.asked(run)
            first.kill()
    with receiver(port) as hooks, emulator("middesk", state=tmp_path) as second, MiddeskClient(second) as middesk:
        assert [post.type for post in hooks.wait(2)] == ["run.created", "run.interrupted"]
        middesk.resume(run, middesk.asked(run)["id"])
        last = hooks.wait(3)[-1]
        assert (last.type, last.signature) == ("run.completed", signed(last.body))


# -- faults


def test_webhook_duplicate_sends_an_event_twice(client: MiddeskClient, hooks: Receiver) -> None:
    client.start(f"{QUIET} fault:webhook-duplicate")
    first, second, third = hooks.wait(3)
    assert (first.body, first.type, third.type) == (second.body, "run.created", "run.completed")


def test_webhook_disorder_sends_an_event_after_the_next(client: MiddeskClient, hooks: Receiver) -> None:
    client.start(f"{QUIET} fault:webhook-disorder")
    assert [post.type for post in hooks.wait(2)] == ["run.completed", "run.created"]


def test_webhook_lost_never_sends_an_event(client: MiddeskClient, hooks: Receiver) -> None:
    client.start(f"{QUIET} fault:webhook-lost")
    assert [post.type for post in hooks.wait(1)] == ["run.completed"]


@pytest.mark.parametrize("how", ["none", "wrong", "prefix"])
def test_webhook_signature_is_missing_wrong_or_prefixed(client: MiddeskClient, hooks: Receiver, how: str) -> None:
    client.start(f"{QUIET} fault:webhook-signature={how}")
    first, second = hooks.wait(2)
    right = signed(first.body)
    expected = {"none": first.signature == "", "prefix": first.signature == f"sha256={right}"}
    assert expected.get(how, first.signature not in ("", right))
    assert second.signature == signed(second.body)
