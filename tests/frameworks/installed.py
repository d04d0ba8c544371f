"""Environments of agent frameworks, made once each, and their programs as processes beside a test.

`agents/FRAMEWORK.txt` names what pip installs for a program in Python, with the versions that were tried in
`FRAMEWORK.constraints.txt` where the short form has it; `FRAMEWORK.npm.txt` is what npm installs for one on Node.
"""

import hashlib
import select
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

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
def command(framework: str) -> Sequence[str | Path]:
    """What starts this framework's program, in the environment that it needs; installed if that is not there yet."""
    folder = KEPT / framework
    if (AGENTS / f"{framework}.npm.txt").exists():
        if shutil.which("npm") is None:
            pytest.skip("there is no Node")
        _install(folder, AGENTS / f"{framework}.npm.txt", "node", _with_npm)
        return ["node", AGENTS / f"{framework}_agent.mjs", folder]
    _install(folder, AGENTS / f"{framework}.txt", sys.version, _with_pip)
    return [folder / "bin" / "python", AGENTS / f"{framework}_agent.py"]


def _install(folder: Path, wanted: Path, runtime: str, install: Callable[[Path, Path], None]) -> None:
    """Install what is wanted, if something else or nothing is there."""
    tried = _constraints(wanted)
    mark = hashlib.sha256(wanted.read_bytes() + (tried.read_bytes() if tried else b"") + runtime.encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        stamp = folder / "stamp"
        if not stamp.exists() or stamp.read_text() != mark:
            install(folder, wanted)
            stamp.write_text(mark)


def _constraints(wanted: Path) -> Path | None:
    tried = wanted.with_suffix(".constraints.txt")
    return tried if tried.exists() else None


def _with_pip(folder: Path, wanted: Path) -> None:
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    python, tried = folder / "bin" / "python", _constraints(wanted)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted,
         *(("-c", tried) if tried else ())],
        check=True, timeout=INSTALL_S,
    )  # fmt: skip


def _with_npm(folder: Path, wanted: Path) -> None:
    """Without peers that nothing imports, and without scripts of packages."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    subprocess.run(
        ["npm", "install", "--save-exact", "--no-package-lock", "--ignore-scripts", "--legacy-peer-deps",
         "--no-audit", "--no-fund", "--loglevel", "error", *wanted.read_text().split()],
        check=True, cwd=folder, timeout=INSTALL_S, stdout=subprocess.DEVNULL,
    )  # fmt: skip


@contextmanager
def serving(framework: str, log: Path) -> Iterator[Agent]:
    """Start the program of `agents/` in its environment, and end it."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            command(framework),
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
