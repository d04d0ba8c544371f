"""The emulator as a process beside a test: started, asked, armed with faults and stopped."""

import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.countersign import unmeasured

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0
STOP_S = 60.0
PATIENT_S = 60.0


class Emulator:
    """A running emulator. `mindra`, `middesk` and `agui` are base URLs; `agent` is where an AG-UI run is posted."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self.process, self.url = process, url
        # plain HTTP: no certificates to load
        self._http = httpx.Client(base_url=url, trust_env=False, verify=False, timeout=PATIENT_S)
        self.mindra, self.middesk, self.agui = f"{url}/mindra", f"{url}/middesk", f"{url}/agui"
        self.agent = f"{self.agui}/agent"
        self.langgraph, self.agno = f"{url}/langgraph", f"{url}/agno"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def effects(self, **match: object) -> list[dict[str, Any]]:
        """The rows of /_effects whose fields equal `match`."""
        return [row for row in self._get("_effects") if all(row.get(key) == value for key, value in match.items())]

    def pending(self, **match: object) -> list[dict[str, Any]]:
        """The rows of /_pending whose fields equal `match`."""
        return [row for row in self._get("_pending") if all(row.get(key) == value for key, value in match.items())]

    def runs(self, **match: object) -> list[dict[str, Any]]:
        """The rows of /_runs whose fields equal `match`."""
        return [row for row in self._get("_runs") if all(row.get(key) == value for key, value in match.items())]

    def arm(self, fault: str, **params: object) -> None:
        """Arm a fault: `times`, `kind`, `run` and `on` narrow it, the rest are its own parameters."""
        answer = self._http.post("/_faults", json={"fault": fault, **params})
        answer.raise_for_status()

    def disarm(self) -> None:
        """Forget every armed fault."""
        self._http.delete("/_faults").raise_for_status()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def close(self) -> None:
        """Close the connection that this object asks over."""
        self._http.close()

    def _get(self, name: str) -> list[dict[str, Any]]:
        answer = self._http.get(f"/{name}")
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()[name.lstrip("_")]
        return rows


@contextmanager
def emulator(
    kind: str = "all",
    *,
    state: Path | None = None,
    port: int = 0,
    pace: str = "fast",
    seed: int = 1,
    args: Sequence[str] = (),
) -> Iterator[Emulator]:
    """Start `python -m streams.emulator` and stop it at the end; it cannot outlive the test run."""
    command = [sys.executable, "-m", "streams.emulator", kind, "--port", str(port), "--pace", pace]
    command += ["--seed", str(seed), "--parent-pipe", *args]
    if state is not None:
        command += ["--state", str(state)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**unmeasured(), "PYTHONUNBUFFERED": "1"}
    )
    running = None
    try:
        running = Emulator(process, _address(process))
        yield running
    finally:
        if running is not None:
            running.close()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()  # its parent is gone: it ends by itself
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
        process.stdout.close()


def _address(process: "subprocess.Popen[bytes]") -> str:
    """The address in the process's first line."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline().decode().strip() if ready else ""
    word, _, url = line.partition(": ")
    if word != "Emulator":
        raise RuntimeError(f"the emulator did not start: {line!r}")
    return url
