"""The command line: how it starts, what it says, how it ends."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.emulator import ROOT, emulator
from tests.streams.emulator.clients import AgUiClient, MindraClient, Thread, blocks


def test_a_provider_alone_answers_at_the_root_too() -> None:
    with emulator("agui") as running, AgUiClient(running) as agui:
        for path in ("/", "/agent", "/agui", "/agui/agent"):
            with agui.http.stream("POST", f"{running.url}{path}", json=agui.body(Thread())) as answer:
                assert [frame.json()["type"] for frame in blocks(answer.iter_raw())][0] == "RUN_STARTED"
        assert agui.http.post(f"{running.url}/v1/workflows/refund/run", json={"task": "x"}).status_code == 404
        assert agui.http.get(f"{running.url}/_scenarios").json().keys() == {"agui"}


def test_a_scenario_can_be_forced_on_every_run() -> None:
    forced = ["--scenario", "sql-migration"]
    with emulator(args=forced) as running, MindraClient(running) as mindra, AgUiClient(running) as agui:
        assert mindra.asked(mindra.start("x", "refund"))["tool"] == "run_sql"
        assert agui.start("outbound-email").interrupts[0]["message"].startswith("Run this migration")


def test_the_same_seed_says_the_same_words_at_either_pace() -> None:
    said = []
    for pace in ("real", "fast"):
        with emulator(pace=pace, seed=7) as running, MindraClient(running) as mindra:
            said.append([f.data for f in mindra.stream(mindra.start("x", "status-summary")) if f.event != "done"])
    assert said[0] == said[1]


def test_it_listens_on_the_host_it_is_told() -> None:
    with emulator(args=["--host", "127.0.0.2"]) as running:
        assert running.url.startswith("http://127.0.0.2:")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{running.port}/_runs", trust_env=False, verify=False)


@pytest.mark.parametrize("arguments", [["nobody"], ["all", "--port", "70000"], ["all", "--scenario", "none"]])
def test_a_wrong_argument_stops_the_start(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "streams.emulator", *arguments]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30).returncode == 2


def test_it_ends_by_itself_when_its_parent_is_killed() -> None:
    """Killed with -9 it can tell nobody: only the pipe does."""
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'streams.emulator', 'all', '--parent-pipe'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip().isdigit()
        assert parent.stdout.readline().startswith("Emulator: http://127.0.0.1:")
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == ""  # its end of the pipe closes when the child is gone


def test_it_stops_cleanly_on_sigterm_with_streams_open(capfd: pytest.CaptureFixture[str]) -> None:
    with emulator() as running, MindraClient(running) as mindra, AgUiClient(running) as agui:
        waiting, stalled, thread = mindra.start(), mindra.start("fault:stall=1"), Thread()
        thread.messages = [{"id": "m", "role": "user", "content": "outbound-email fault:stall=2"}]
        with (
            mindra.http.stream("GET", mindra.url(waiting)) as first,
            mindra.http.stream("GET", mindra.url(stalled)) as second,
            agui.http.stream("POST", running.agent, json=agui.body(thread)) as third,
        ):
            for answer in (first, second, third):
                next(answer.iter_raw())
            assert running.stop() == 0
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_one_sentence_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "streams.emulator", "all", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("emulate: cannot listen on 127.0.0.1 port ")
    assert done.stdout == ""


def test_the_django_command_is_the_same_server() -> None:
    command = [sys.executable, "manage.py", "emulate", "all", "--port", "0", "--parent-pipe", "--seed", "4"]
    environment = {**os.environ, "COUNTERSIGN_BOOTSTRAP": "0"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Emulator: http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(15) == 0
