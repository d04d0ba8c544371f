"""Arguments that no parser should meet: stored, shown, never approvable by accident; on SQLite and on PostgreSQL."""

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest
from psycopg import conninfo, sql

from streams import events
from streams.emulator.payloads import PAYLOADS
from tests.e2e.stage import Row, Stage, stage

pytestmark = [pytest.mark.long, pytest.mark.process]

REASONS = {
    "unparsable": "not JSON",
    "nul": "holds a NUL",
    "raw-nul": "holds a NUL",
    "lone-surrogate": "half a character",
    "huge-float": "a number that is too large",
    "huge-integer": "a number of 401 digits",
    "long-integer": "a number of 5000 digits",
    "deep": "nested more than 100 deep",
    "very-deep": "nested more than 100 deep",
    "duplicate-keys": 'the key "amount" comes twice',
    "nan": "NaN is not JSON",
}
FOR_MINDRA = {"not-an-object": "not an object", "null": "not an object", "empty": "not JSON"}
# AG-UI's arguments are whatever a tool takes; the answer names the call and does not repeat them.
APPROVABLE = {"agui": set(FOR_MINDRA), "mindra": set[str]()}
# In AG-UI's pieces of a few characters these are thousands of events, and nothing new: `deep` is refused for the same.
FORMS = {"agui": set(PAYLOADS) - {"very-deep"}, "mindra": set(PAYLOADS)}
# Where the arguments break the frame around them, a person is shown the whole frame.
FRAMED = {"agui": set[str](), "mindra": {"unparsable", "raw-nul", "very-deep", "empty"}}


@contextmanager
def database(server: str) -> Iterator[str]:
    """A database of our own on that server; its URL."""
    name = f"countersign_e2e_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            told = conninfo.conninfo_to_dict(server)
            user, password = told.get("user", ""), told.get("password", "")
            login = f"{user}:{password}@" if password else f"{user}@" if user else ""
            yield f"postgres://{login}{told.get('host', '')}:{told.get('port', 5432)}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(
    scope="module",
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)],
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Everything that runs, on either database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("on")
        return
    with database(os.environ["COUNTERSIGN_TEST_DATABASE_URL"]) as url:
        keys = {
            "DATABASE_URL": url,
            "COUNTERSIGN_SECRET_KEY": secrets.token_urlsafe(50),
            "COUNTERSIGN_FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        with stage(tmp_path_factory.mktemp("postgres"), env=keys) as made:
            yield made
            log = made.house.log.read_text()
    assert "Traceback" not in log, log[-5000:]


@pytest.fixture
def failures(engine: Stage) -> Iterator[list[str]]:
    """Answers of ours that say that it is our fault."""
    found: list[str] = []

    def look(response: httpx.Response) -> None:
        if response.status_code >= 500:
            found.append(f"{response.request.method} {response.request.url}: {response.status_code}")

    engine.api.event_hooks["response"].append(look)
    yield found
    engine.api.event_hooks["response"].remove(look)


@pytest.mark.parametrize("kind", ["mindra", "agui"])
def test_odd_arguments_are_stored_and_shown_and_not_approved(engine: Stage, failures: list[str], kind: str) -> None:
    runs = {form: engine.start(f"the-{kind}", "refund", faults=f"fault:payload={form}") for form in sorted(FORMS[kind])}
    asked = {form: engine.asked(run_id)[0] for form, run_id in runs.items()}
    for form, row in asked.items():
        _shown(engine, kind, form, row)
        _stored(engine, row)
    for form, row in asked.items():
        if form in APPROVABLE[kind]:
            engine.approve(row)
            continue
        refused = engine.decide(row, "approve")
        (problem,) = refused.json()["errors"]
        assert (refused.status_code, problem["field"]) == (422, "verdict"), form
        assert (REASONS | FOR_MINDRA)[form] in problem["message"], form
        assert engine.request(row["id"])["status"] == "pending"
        engine.reject(row)
    for form, row in asked.items():
        engine.becomes(row["id"], "delivered")
        engine.ended(row["run_id"])
        (effect,) = engine.agents.effects(run=engine.run(row["run_id"])["external_id"])
        approved = form in APPROVABLE[kind]
        assert (effect["executed"], effect["skipped"]) == (int(approved), int(not approved)), form
    assert failures == []


def test_a_run_with_a_broken_question_goes_on_to_the_next_one(engine: Stage, failures: list[str]) -> None:
    """The first of two parallel calls is unreadable: on its own at Mindra, a member of the batch at AG-UI."""
    for kind in ("mindra", "agui"):
        run_id = engine.start(f"the-{kind}", "account-deletion", faults="fault:payload=unparsable")
        broken, sound = sorted(engine.asked(run_id, 2), key=lambda row: row["tool_input"] is not None)
        assert engine.decide(broken, "approve").status_code == 422
        engine.approve(sound)
        engine.reject(broken)
        for row in (broken, sound):
            engine.becomes(row["id"], "delivered")
        engine.ended(run_id)
        assert engine.did(sound) == (1, 0, 1, 0)
        effects = engine.agents.effects(run=engine.run(run_id)["external_id"])
        assert sorted((one["executed"], one["skipped"]) for one in effects) == [(0, 1), (1, 0)]
    assert failures == []


def test_the_audit_chain_holds_with_all_of_it(engine: Stage) -> None:
    engine.house.command("audit", "verify")


def _shown(engine: Stage, kind: str, form: str, row: Row) -> None:
    """The exact text (what cannot be stored is spelled out), its hash, and the value only where parsers agree on it."""
    text = events.text(PAYLOADS[form]())[0]
    if form in FRAMED[kind]:
        assert text in row["tool_input_text"], form
        assert row["tool_input_text"] in [one["data"] for one in engine.events(row["run_id"])], form
    else:
        assert row["tool_input_text"] == text, form
    assert row["input_sha256"] == hashlib.sha256(row["tool_input_text"].encode()).hexdigest(), form
    if form not in ("nul", "raw-nul", "lone-surrogate", "duplicate-keys", "not-an-object"):
        assert row["tool_input"] is None, form


def _stored(engine: Stage, row: Row) -> None:
    stored = engine.events(row["run_id"], source="provider")
    assert stored, "the stream went on"
    for one in stored:
        assert one["sha256"] == hashlib.sha256(one["data"].encode()).hexdigest()
        assert "\x00" not in one["data"]
    assert {"gap", "divergence", "oversize"}.isdisjoint(engine.remarks(row["run_id"]))
