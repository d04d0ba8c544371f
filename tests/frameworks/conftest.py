"""Countersign on one side, each framework's own server on the other."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import on
from tests.e2e.stage import Row, Stage
from tests.frameworks.cases import CASES, Case
from tests.frameworks.installed import Agent, serving
from tests.long_form import LONG

__all__ = ["Peer", "on", "peer", "serve"]

Serve = Callable[[str], Agent]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """The server of a framework, started when a test first asks for it."""
    folder: Path = tmp_path_factory.mktemp("agents")
    running: dict[str, Agent] = {}
    with ExitStack() as stack:

        def started(framework: str) -> Agent:
            if framework not in running:
                running[framework] = stack.enter_context(serving(framework, folder / f"{framework}.log"))
            return running[framework]

        yield started


@dataclass
class Peer:
    """One way of asking, as an account of Countersign's, and what its server recorded since the test began."""

    case: Case
    on: Stage
    agent: Agent
    seen: tuple[int, int] = (0, 0)

    def run(self, task: str) -> str:
        """Start a run and return our id of it."""
        body: Row = {"provider": self.case.name, "task": task, "options": self.case.options}
        if self.case.workflow:
            body["workflow"] = self.case.workflow
        answer = self.on.api.post("runs", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def asks(self, task: str, count: int = 1) -> tuple[str, list[Row]]:
        """Start a run and wait for its requests."""
        run_id = self.run(task)
        return run_id, self.on.asked(run_id, count)

    def effects(self) -> list[Row]:
        """The gated calls that ran."""
        return self.agent.effects()[self.seen[0] :]

    def told(self) -> list[Row]:
        """The POSTs that came: starts and answers."""
        reads = self.case.reads
        return [post for post in self.agent.posts()[self.seen[1] :] if not (reads and post["path"].endswith(reads))]

    def posts(self) -> int:
        """How many they are."""
        return len(self.told())

    def approve(self, asked: Row, **more: object) -> None:
        self.on.approve(asked, **self.case.says(self.case.answer), **more)

    def reject(self, asked: Row, **more: object) -> None:
        self.on.reject(asked, **self.case.says(self.case.refusal), **more)

    def account(self) -> Row:
        rows: list[Row] = json.loads(self.on.house.command("providers", "list", "--json"))
        (row,) = [row for row in rows if row["name"] == self.case.name]
        return row


@pytest.fixture(params=[case for case in CASES if LONG or not case.long], ids=lambda case: case.name)
def peer(request: pytest.FixtureRequest, on: Stage, serve: Serve) -> Peer:
    """Each way of asking in turn."""
    case: Case = request.param
    agent = serve(case.framework)
    if case.name not in on.house.accounts:
        said = ["--dialect", case.pin] if case.pin else []
        for name, value in case.settings.items():
            said += ["--option", f"{name}={json.dumps(value)}"]
        on.house.command(
            "providers", "add", case.name, "--kind", case.kind, "--base-url", f"{agent.url}{case.path}", *said
        )
        on.house.accounts.append(case.name)
    return Peer(case, on, agent, (len(agent.effects()), len(agent.posts())))
