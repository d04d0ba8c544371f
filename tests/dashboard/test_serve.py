"""serve and hold as real processes: what stops the start, what the end looks like, and what a kill leaves behind."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import dashboard.server
from tests.countersign import PATIENT_S, ROOT, START_S, STOP_S, Countersign, eventually
from tests.emulator import emulator
from tests.plugins.figures import Figure

pytestmark = pytest.mark.process

TOO_LATE = "the drain took longer"  # its own limit is shorter than the 5 s it may take; ours would be the machine's


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Countersign]:
    made = Countersign(tmp_path / "data")
    try:
        yield made
    finally:
        made.close()


def run(server: Countersign, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env={**server.env, **env}, capture_output=True, text=True, timeout=START_S,
    )  # fmt: skip


def test_it_says_its_address_when_it_accepts_and_ends_in_time(server: Countersign) -> None:
    server.start()
    assert httpx.get(f"{server.url}/health/live", trust_env=False, timeout=PATIENT_S).status_code == 200
    idle = socket.create_connection(("127.0.0.1", server.port))
    assert server.stop() == 0
    assert TOO_LATE not in server.log.read_text()
    idle.close()


def test_what_stops_the_start_is_said_in_one_sentence(server: Countersign, figure: Figure) -> None:
    server.start()
    assert server.process is not None
    second = run(server, "serve", "--port", "0")
    assert (second.returncode, second.stdout) == (1, "")
    assert f"process {server.process.pid} already serves" in second.stderr
    assert second.stderr.count("\n") == 1
    holding = run(server, "hold")
    assert (holding.returncode, holding.stderr.count("\n")) == (1, 1)
    figure("D7", worst=0, n=2, unit="second processes on one SQLite folder that ran; each names the first one's pid")
    other = Countersign(server.data_dir.parent / "other")
    other.env["COUNTERSIGN_DATA_DIR"] = str(other.data_dir)
    taken = run(other, "up", "--port", str(server.port))
    assert taken.returncode == 1
    assert f"port {server.port} of 127.0.0.1 cannot be used: Address already in use" in taken.stderr
    assert "Countersign:" not in taken.stdout
    reachable = run(other, "serve", "--host", "0.0.0.0", "--port", "0")
    assert reachable.returncode == 1
    assert "COUNTERSIGN_ORIGINS" in reachable.stderr
    assert "Traceback" not in taken.stderr + reachable.stderr


def test_a_database_without_its_tables_is_named(server: Countersign) -> None:
    server.data_dir.mkdir()
    lacking = run(server, "serve", "--port", "0")
    assert lacking.returncode == 1
    assert "migrations" in lacking.stderr
    assert "Traceback" not in lacking.stderr


def test_sockets_open_for_our_own_pages_only(server: Countersign) -> None:
    server.start()
    address = f"ws://127.0.0.1:{server.port}/ws/inbox/"
    for origin in (
        None,
        "null",
        "http://evil.test",
        f"http://localhost:{server.port}",
        f"https://127.0.0.1:{server.port}",
    ):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, origin=origin, proxy=None)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403


@pytest.mark.long
def test_a_killed_server_goes_on_where_it_was(server: Countersign) -> None:
    with emulator(pace="real") as outside:
        server.start()
        at = ("--kind", "mindra", "--base-url", outside.mindra, "--secret-env", "KEY")
        server.command("providers", "add", "m", *at, env={"KEY": "any"})
        runs = [server.start_run("m", "Pay", "--workflow", "outbound-email") for _ in range(4)]
        for _ in range(3):
            eventually(lambda: outside.runs(kind="mindra"))
            server.kill()
            server.start()
        with server.api() as api:
            eventually(lambda: len(api.get("approvals", params={"status": "pending"}).json()["items"]) >= 1)
            for run_id in runs:
                said = eventually(lambda run_id=run_id: api.get(f"runs/{run_id}").json())  # type: ignore[misc]
                assert said["status"] in ("waiting", "streaming", "lost", "queued", "connecting")
                items = api.get(f"runs/{run_id}/events").json()["items"]
                assert [item["seq"] for item in items] == list(range(1, len(items) + 1))
        # Each start left at most once: a run that may have started twice would show here.
        assert len(outside.runs(kind="mindra")) <= len(runs)
        assert server.stop() == 0
        assert TOO_LATE not in server.log.read_text()


def test_a_holder_alone_ends_in_time(server: Countersign) -> None:
    server.start()
    server.stop()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "hold"], cwd=ROOT, env=server.env, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "room for" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=STOP_S)
        assert process.returncode == 0, said
        assert TOO_LATE not in said
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


async def test_a_holder_whose_drain_hangs_says_so_and_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(BaseException):
        """The process would be gone."""

    async def hanging(stop: asyncio.Event) -> None:
        await asyncio.Event().wait()

    def gone(code: int) -> None:
        raise Gone(code)

    monkeypatch.setattr(dashboard.server, "work", hanging)
    monkeypatch.setattr(dashboard.server, "STOP_S", 0.01)
    monkeypatch.setattr(os, "_exit", gone)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    loop = asyncio.get_running_loop()
    loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)  # once hold waits, and so listens to it
    try:
        async with asyncio.timeout(PATIENT_S):
            with pytest.raises(Gone, match="0"):
                await dashboard.server._hold()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    assert f"hold: {TOO_LATE}" in caplog.text
