"""Countersign itself as a process beside a test: started, signed in to, killed, started again on the same data."""

import atexit
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.long_form import LONG

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
START_S = 180.0
STOP_S = 60.0  # the server ends itself long before; a busy machine is no fault of it
PATIENT_S = 60.0  # limits are for what never comes: a slow machine must not reach them
DATABASE = "countersign.sqlite3"
FROM_US = ("COUNTERSIGN_", "DJANGO_", "DATABASE_URL", "REDIS_URL", "PYTEST")  # the test's own settings are not its


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: Callable[[], T], *, within_s: float = PATIENT_S, why: str = "") -> T:
    """Ask until the answer is true, at most `within_s`; returns it. Raises AssertionError with the last answer."""
    until = time.monotonic() + within_s
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"{why or what.__name__} did not come true within {within_s:g} s: {answer!r}")
        select.select([], [], [], 0.05)


class Countersign:
    """One data folder and, most of the time, a process that serves it on a port of its own."""

    def __init__(
        self, data_dir: Path, *, demo: bool = False, env: dict[str, str] | None = None, prepared: bool = True
    ) -> None:
        self.data_dir, self.demo, self.port = data_dir, demo, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._prepared = prepared and not demo  # the demo's first start is what some tests are about
        kept = {name: value for name, value in unmeasured().items() if not name.startswith(FROM_US)}
        self.env = {
            **kept,
            "COUNTERSIGN_BOOTSTRAP": "0",
            "COUNTERSIGN_DATA_DIR": str(data_dir),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        self.password = self.token = ""
        self.log = data_dir / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.holders: list[subprocess.Popen[bytes]] = []
        self.accounts: list[str] = []  # names of the providers that tests added

    def start(self) -> float:
        """Start `manage.py up` and wait until it serves. Returns the seconds that it took."""
        began = time.monotonic()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._prepared and "DATABASE_URL" not in self.env and not (self.data_dir / DATABASE).exists():
            folder, self.password, self.token = prepared()
            shutil.copytree(folder, self.data_dir, dirs_exist_ok=True)
        command = [sys.executable, "manage.py", "up", "--port", str(self.port), *(["--demo"] if self.demo else [])]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        said = self._read_until("Countersign: ")
        if found := re.search(r"Sign in: admin / (\S+)", said):
            self.password = found[1]
        return time.monotonic() - began

    def _read_until(self, word: str) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        said, until = "", time.monotonic() + START_S
        while word not in said:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise RuntimeError(f"it did not start: {said!r}\n{self.log.read_text()[-3000:]}")
            said += chunk.decode()
        return said

    def kill(self) -> None:
        """kill -9, the server alone: what it started must notice by itself."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        code = self.process.wait(STOP_S)
        self.process.stdout.close()
        self.process = None
        return code

    def add_holder(self) -> None:
        """Start `manage.py hold` beside it, on the same database."""
        with self.log.open("ab") as log:
            self.holders.append(
                subprocess.Popen(
                    [sys.executable, "manage.py", "hold"], cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip

    def kill_holder(self, number: int) -> None:
        """kill -9, and another one in its place."""
        holder = self.holders.pop(number)
        holder.kill()
        holder.wait(STOP_S)
        self.add_holder()

    def end_holders(self) -> list[int]:
        """SIGTERM to each, asleep or not, and their exit codes."""
        for holder in self.holders:
            holder.send_signal(signal.SIGCONT)
            holder.terminate()
        codes = []
        for holder in self.holders:
            try:
                codes.append(holder.wait(STOP_S))
            except subprocess.TimeoutExpired:
                holder.kill()
                codes.append(holder.wait())
        self.holders.clear()
        return codes

    def close(self) -> None:
        """End all of it, whatever it takes."""
        self.end_holders()
        if self.process is None:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        """Run `manage.py ARGUMENTS` beside it and return its stdout. Raises with its stderr when it fails."""
        ran = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        if ran.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: exit {ran.returncode}\n{ran.stderr[-3000:]}")
        return ran.stdout

    def api(self) -> httpx.Client:
        """A client of the API with every scope, as admin."""
        scopes = ["runs:read", "runs:write", "approvals:read", "approvals:decide"]
        flags = [part for scope in scopes for part in ("--scope", scope)]
        self.token = self.token or self.command("tokens", "create", "tests", "--user", "admin", *flags).strip()
        return httpx.Client(
            base_url=f"{self.url}/api/v1/", headers={"Authorization": f"Bearer {self.token}"}, trust_env=False,
            timeout=PATIENT_S,
        )  # fmt: skip

    def start_run(self, provider: str, task: str, *more: str) -> str:
        """Start a run by command and return its id."""
        run_id: str = json.loads(self.command("runs", "start", provider, "--task", task, *more))["id"]
        return run_id

    def pages(self) -> httpx.Client:
        """A signed-in browser without JavaScript."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENT_S, follow_redirects=True)
        form = {
            "username": "admin",
            "password": self.password,
            "csrfmiddlewaretoken": csrf(client.get("/accounts/login/")),
        }
        answer = client.post("/accounts/login/", data=form, headers={"Referer": f"{self.url}/accounts/login/"})
        assert answer.status_code == 200, answer.text[:500]
        assert not answer.url.path.startswith("/accounts/login"), "the sign-in was refused"
        return client


def unmeasured() -> dict[str, str]:
    """The environment for a server: being measured costs it a third of its time, so only the long form measures it."""
    if LONG:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@cache
def prepared() -> tuple[Path, str, str]:
    """A data folder as the first start leaves it, to be copied, its admin's password, and a token for the API."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-prepared-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    first = Countersign(folder, prepared=False)
    try:
        first.start()
        first.api().close()
    finally:
        first.close()
    first.log.unlink()
    return folder, first.password, first.token


def csrf(page: httpx.Response) -> str:
    """The CSRF token of a page's form."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found, "the page has no CSRF token"
    return found[1]


@contextmanager
def countersign(data_dir: Path, *, demo: bool = False, env: dict[str, str] | None = None) -> Iterator[Countersign]:
    """Start it, and stop it at the end."""
    house = Countersign(data_dir, demo=demo, env=env)
    try:
        house.start()
        yield house
    finally:
        house.close()


def approvals(api: httpx.Client, **filters: Any) -> list[dict[str, Any]]:
    """All approval requests that match, over every page of the list."""
    found: list[dict[str, Any]] = []
    url: str | None = "approvals"
    params: dict[str, Any] | None = filters
    while url:
        answer = api.get(url, params=params)
        answer.raise_for_status()
        body = answer.json()
        found += body["items"]
        url, params = body["next"] and str(api.base_url.join(body["next"])), None
    return found
