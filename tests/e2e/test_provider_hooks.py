"""Signed webhooks of a real server, taken by a real one: an interrupt is one request, however often it is noticed."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.countersign import Countersign, approvals, eventually
from tests.e2e.stage import Stage
from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import MiddeskClient

pytestmark = [pytest.mark.long, pytest.mark.process]
SECRET = "hook-secret-of-this-test"
BUSINESS = "5b1e0000-0000-4000-8000-000000000001"
QUIET = "industry_classification"


def add_account(house: Countersign, agents: Emulator) -> None:
    house.command(
        "providers", "add", "kyb", "--kind", "middesk", "--base-url", agents.middesk,
        "--secret-env", "AGENT_KEY", "--webhook-secret-env", "HOOK_SECRET", "--option", 'resume={"enabled": true}',
        env={"AGENT_KEY": "mk_test_1", "HOOK_SECRET": SECRET},
    )  # fmt: skip


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server, and an emulator that sends it its webhooks."""
    house = Countersign(tmp_path_factory.mktemp("house"))
    told = ["--middesk-webhook", f"{house.url}/hooks/kyb/", "--middesk-webhook-secret", SECRET]
    with emulator("middesk", args=told) as agents:
        try:
            house.start()
            add_account(house, agents)
            with house.api() as api:
                yield Stage(house, agents, api)
        finally:
            house.close()
        log = house.log.read_text()
    assert "Traceback" not in log, log[-5000:]
    assert SECRET not in log


@pytest.fixture
def elsewhere(on: Stage) -> Iterator[MiddeskClient]:
    """Somebody who starts runs at the provider, past us."""
    with MiddeskClient(on.agents) as client:
        yield client


def requests_of(on: Stage, external_id: str) -> list[dict[str, Any]]:
    return [row for row in approvals(on.api) if on.run(row["run_id"])["external_id"] == external_id]


def start(on: Stage, agent: str) -> str:
    answer = on.api.post("runs", json={"provider": "kyb", "workflow": agent, "options": {"business_id": BUSINESS}})
    assert answer.status_code == 201, answer.text
    run_id: str = answer.json()["id"]
    return run_id


@pytest.mark.parametrize(
    "faults",
    [
        "",
        "fault:webhook-duplicate*all",
        "fault:webhook-disorder",
        "fault:snapshot-shape=no-interrupts",
        "fault:interrupt-end=silent fault:snapshot-shape=steps-only",
        "fault:event-fields=camel fault:webhook-signature=prefix*all",
    ],
    ids=[
        "all three ways",
        "webhooks twice",
        "webhooks out of order",
        "silent snapshots",
        "silent stream",
        "odd spelling",
    ],
)
def test_an_interrupt_noticed_by_webhook_snapshot_and_get_is_one_request(
    on: Stage, elsewhere: MiddeskClient, faults: str
) -> None:
    external_id = elsewhere.start(f"watchlist_resolution {faults}".strip())
    asked = eventually(lambda: requests_of(on, external_id), why="the question of a run that nobody told us of")
    on.approve(asked[0])
    on.ended(asked[0]["run_id"])
    assert on.becomes(asked[0]["id"], "delivered")["delivery"]["state"] == "delivered"
    assert len(requests_of(on, external_id)) == 1
    assert [(row["approve"], row["executed"]) for row in on.agents.effects(run=external_id)] == [(1, 1)]


def test_a_run_that_we_start_is_followed_once_though_its_webhooks_tell_of_it_too(on: Stage) -> None:
    run_ids = [start(on, QUIET) for _ in range(5)]
    for run_id in run_ids:
        assert on.ended(run_id)["outcome"] == "completed"
    external_ids = [on.run(run_id)["external_id"] for run_id in run_ids]
    assert len(set(external_ids)) == 5
    assert "followed as another run" not in on.house.log.read_text()


def test_an_answer_given_at_the_provider_itself_ends_our_request(on: Stage, elsewhere: MiddeskClient) -> None:
    external_id = elsewhere.start("tin_verification fault:interrupt-end=silent")
    (asked,) = eventually(lambda: requests_of(on, external_id))
    assert elsewhere.resume(external_id, elsewhere.asked(external_id)["id"]).status_code == 200
    on.becomes(asked["id"], "withdrawn")
    on.ended(asked["run_id"])
    assert on.agents.effects(run=external_id)[0]["executed"] == 1


def signed(raw: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Middesk-Signature-256": hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()}


def test_a_forged_replayed_or_foreign_webhook_moves_nothing(on: Stage, elsewhere: MiddeskClient) -> None:
    external_id = elsewhere.start("watchlist_resolution")
    (asked,) = eventually(lambda: requests_of(on, external_id))
    done = {"object": "run", "id": external_id, "status": "completed", "interrupts": []}
    raw = json.dumps({"object": "event", "id": "forged-1", "type": "run.completed", "data": {"object": done}}).encode()
    url = f"{on.house.url}/hooks/kyb/"
    with httpx.Client(trust_env=False, timeout=20) as client:
        assert client.post(url, content=raw).status_code == 401
        assert client.post(url, content=raw, headers=signed(raw, "another")).status_code == 401
        assert client.post(url, content=raw + b" ", headers=signed(raw)).status_code == 401
        assert client.post(f"{on.house.url}/hooks/nobody/", content=raw, headers=signed(raw)).status_code == 404
        lies = client.post(
            url, content=raw, headers=signed(raw)
        )  # from who knows the secret: the run is read all the same
        assert (lies.status_code, lies.content, "set-cookie" in lies.headers) == (204, b"", False)
        assert client.post(url, content=raw, headers=signed(raw)).status_code == 204
    reads = on.agents.runs(run=external_id)
    assert on.request(asked["id"])["status"] == "pending", reads
    on.reject(asked)
    on.ended(asked["run_id"])
    assert [(row["reject"], row["skipped"]) for row in on.agents.effects(run=external_id)] == [(1, 1)]


def test_webhooks_that_came_while_we_were_down_come_again(tmp_path: Path) -> None:
    house = Countersign(tmp_path / "house")
    told = ["--middesk-webhook", f"{house.url}/hooks/kyb/", "--middesk-webhook-secret", SECRET]
    state = tmp_path / "agents"
    try:
        house.start()
        with emulator("middesk", args=told, state=state, pace="real") as agents:
            add_account(house, agents)
            house.kill()
            with MiddeskClient(agents) as client:
                external_id = client.start("watchlist_resolution")
                client.asked(external_id)
            port = agents.port
            agents.kill()  # with what it had still to send
        house.start()
        with emulator("middesk", args=told, state=state, port=port), house.api() as api:
            (asked,) = eventually(lambda: approvals(api), why="the question of a run that nobody told us of")
            assert asked["status"] == "pending"
    finally:
        house.close()
