"""Countersign and the emulator as two real processes, and what a test asks and does through the API alone."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from streams.sse import Decoder
from tests.countersign import PATIENT_S, Countersign, approvals, countersign, eventually
from tests.emulator import Emulator, emulator

Row = dict[str, Any]
KINDS = ("mindra", "middesk", "agui")
GIVE_WAY = "from streams.models import *; Provider.objects.filter(name='{name}').update(name='{name}-{count}')"
ACCOUNTS = """
from streams.models import Provider
for kind, url in {accounts}:
    made = Provider(name=f"the-{{kind}}", kind=kind, base_url=url)
    made.options = {{"resume": {{"enabled": True}}}} if kind == "middesk" else {{}}
    made.set_secret("key-for-tests")
    made.save()
"""
BUSINESS = "5f0d5a0e-8c0b-4a51-9c5f-6f6b7f6f2d11"  # any id will do: the emulator invents the firm behind it


@dataclass
class Stage:
    """One server, one emulator, and a token that may do everything."""

    house: Countersign
    agents: Emulator
    api: httpx.Client
    started: list[str] = field(default_factory=list)

    def provider(self, name: str, kind: str, base_url: str, *, secret: str = "key-for-tests") -> str:
        """Add a provider account by command, Middesk's with its answers switched on; returns its name.

        One that a test added before it was tried again gives way.
        """
        if name in self.house.accounts:
            gives_way = GIVE_WAY.format(name=name, count=len(self.house.accounts))
            self.house.command("shell", "--no-imports", "-c", gives_way)
        self.house.accounts.append(name)
        options = ["--option", 'resume={"enabled": true}'] if kind == "middesk" else []
        self.house.command(
            "providers", "add", name, "--kind", kind, "--base-url", base_url, "--secret-env", "AGENT_KEY", *options,
            env={"AGENT_KEY": secret},
        )  # fmt: skip
        return name

    def account(self, *kinds: str) -> None:
        """Add the emulator's providers of these kinds, as `the-KIND`."""
        urls = {"mindra": self.agents.mindra, "middesk": self.agents.middesk, "agui": self.agents.agent}
        self.house.accounts += [f"the-{kind}" for kind in kinds]
        made = ACCOUNTS.format(accounts=[(kind, urls[kind]) for kind in kinds])
        self.house.command("shell", "--no-imports", "-c", made)

    def start(self, provider: str, scenario: str, *, faults: str = "") -> str:
        """Start a run of a scenario, its faults in the task (Middesk: in the type); returns our id of it."""
        body: Row = {"provider": provider}
        if "middesk" in provider:
            body |= {"workflow": f"{scenario} {faults}".strip(), "options": {"business_id": BUSINESS}}
        else:
            body["task"] = f"{scenario} {faults}".strip()
        if "mindra" in provider:
            body["workflow"] = scenario
        answer = self.api.post("runs", json=body)
        assert answer.status_code == 201, answer.text
        self.started.append(answer.json()["id"])
        return self.started[-1]

    def restart(self) -> None:
        """Start the server again after its end; tokens stay what they are."""
        self.api.close()
        self.house.start()
        self.api = self.house.api()

    # -- what there is

    def run(self, run_id: str) -> Row:
        row: Row = self.api.get(f"runs/{run_id}").raise_for_status().json()
        return row

    def chain(self, run_id: str) -> list[Row]:
        """The run and those that continue it."""
        found = [self.run(run_id)]
        while found[-1]["continued_by"]:
            found.append(self.run(found[-1]["continued_by"]))
        return found

    def ended(self, run_id: str, *statuses: str, within_s: float = PATIENT_S) -> Row:
        """The run, or the last one that continues it, once it has one of these statuses (default: finished)."""
        wanted = statuses or ("finished",)

        def look() -> Row:
            last = self.chain(run_id)[-1]
            return last if last["status"] in wanted else {}

        try:
            return eventually(look, within_s=within_s)
        except AssertionError:
            raise AssertionError(f"never {' or '.join(wanted)}: {self.chain(run_id)[-1]}") from None

    def requests(self, run_id: str) -> list[Row]:
        return approvals(self.api, run_id=run_id)

    def asked(self, run_id: str, count: int = 1) -> list[Row]:
        """The run's pending requests, once there are so many."""

        def look() -> list[Row]:
            rows = [row for row in self.requests(run_id) if row["status"] == "pending"]
            return rows if len(rows) >= count else []

        return eventually(look, why=f"run {run_id} asks: {self.run(run_id)}")

    def request(self, request_id: str) -> Row:
        row: Row = self.api.get(f"approvals/{request_id}").raise_for_status().json()
        return row

    def becomes(self, request_id: str, *statuses: str, within_s: float = PATIENT_S) -> Row:
        """The request, once its status is one of these."""

        def look() -> Row:
            row = self.request(request_id)
            return row if row["status"] in statuses else {}

        try:
            return eventually(look, within_s=within_s)
        except AssertionError:
            raise AssertionError(f"never {' or '.join(statuses)}: {self.request(request_id)}") from None

    def events(self, run_id: str, **match: str) -> list[Row]:
        """All stored events of a run whose fields equal `match`."""
        found: list[Row] = []
        while True:
            after = found[-1]["seq"] if found else 0
            page = self.api.get(f"runs/{run_id}/events", params={"after": after, "limit": 1000}).raise_for_status()
            found += page.json()["items"]
            if not page.json()["next"]:
                return [row for row in found if all(row[key] == value for key, value in match.items())]

    def remarks(self, run_id: str) -> list[str]:
        """The kinds of the house's own events."""
        return [row["kind"] for row in self.events(run_id, source="house")]

    # -- what is done

    def decide(self, asked: Mapping[str, Any], verdict: str, **more: Any) -> httpx.Response:
        body = {"verdict": verdict, "input_sha256": asked["input_sha256"], **more}
        return self.api.post(f"approvals/{asked['id']}/decision", json=body)

    def approve(self, asked: Mapping[str, Any], **more: Any) -> None:
        answer = self.decide(asked, "approve", **more)
        assert answer.status_code == 202, answer.text

    def reject(self, asked: Mapping[str, Any], **more: Any) -> None:
        answer = self.decide(asked, "reject", **more)
        assert answer.status_code == 202, answer.text

    # -- the truth, from the emulator

    def effect(self, asked: Mapping[str, Any], agents: Emulator | None = None) -> Row:
        """The emulator's record of the call that a request is about."""
        external_id = self.run(asked["run_id"])["external_id"]
        found = (agents or self.agents).effects(run=external_id, input_sha256=asked["input_sha256"])
        assert len(found) == 1, found
        return found[0]

    def did(self, asked: Mapping[str, Any]) -> tuple[int, int, int, int]:
        """How often the agent heard yes and no, ran the call and left it."""
        row = self.effect(asked)
        return row["approve"], row["reject"], row["executed"], row["skipped"]

    def told(self, run_id: str) -> list[tuple[str, str]]:
        """The whole stream of a Mindra run, read once more from its beginning."""
        external_id = self.run(run_id)["external_id"]
        url = f"{self.agents.mindra}/api/v1/workflows/execute/{external_id}/stream"
        answer = httpx.get(url, headers={"x-api-key": "any"}, trust_env=False, timeout=PATIENT_S)
        return [(frame.event, frame.data) for frame in Decoder().feed(answer.content)]

    def stored(self, run_id: str) -> list[tuple[str, str]]:
        """What we have of it."""
        return [(row["kind"], row["data"]) for row in self.events(run_id, source="provider")]


def dumps(value: object) -> str:
    """As the emulator spells arguments."""
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def stage(folder: Path, *, env: dict[str, str] | None = None) -> Iterator[Stage]:
    """Start both; the providers are called the-mindra, the-middesk and the-agui."""
    with (
        emulator("all", state=folder / "emulator", pace="fast") as agents,
        countersign(folder / "data", env=env) as house,
    ):
        made = Stage(house, agents, house.api())
        try:
            made.account(*KINDS)
            yield made
        finally:
            made.api.close()
