"""Virtual environments of agent frameworks, made once each, and their programs as processes beside a test."""

import hashlib
import select
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tests.countersign import PATIENT_S, ROOT

AGENTS = Path(__file__).parent / "agents"
KEPT = ROOT / "var" / "frameworks"
INSTALL_S = 600.0
START_S = 180.0


@dataclass(frozen=True)
class Agent:
    """A framework's server, and what it recorded of itself."""

    url: str

    def effects(self) -> list[dict[str, Any]]:
        """Every call of a gated tool that really ran."""
        return list(self._recorded()["effects"])

    def posts(self) -> list[dict[str, Any]]:
        """Path and body of each POST."""
        return list(self._recorded()["posts"])

    def _recorded(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/recorded", trust_env=False, timeout=PATIENT_S)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


@cache
def interpreter(framework: str) -> Path:
    """The Python that has this framework, as `agents/FRAMEWORK.txt` names it; installed if it is not there yet."""
    wanted = AGENTS / f"{framework}.txt"
    mark = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    folder = KEPT / framework
    folder.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{framework}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        stamp, python = folder / "stamp", folder / "bin" / "python"
        if not stamp.exists() or stamp.read_text() != mark:
            venv.create(folder, clear=True, with_pip=True, symlinks=True)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted],
                check=True, timeout=INSTALL_S,
            )  # fmt: skip
            stamp.write_text(mark)
    return python


@contextmanager
def serving(framework: str, log: Path) -> Iterator[Agent]:
    """Start `agents/FRAMEWORK_agent.py` in its environment, and end it."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [interpreter(framework), AGENTS / f"{framework}_agent.py"],
            cwd=log.parent, stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline().decode().strip() if ready else ""
        assert line.startswith("AGENT: "), f"{line}\n{log.read_text()[-3000:]}"
        yield Agent(line.removeprefix("AGENT: "))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
