"""The API: its names, its errors, its pages of a list, and what it makes of hostile arguments."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals.models import ApprovalRequest, AuditEntry, Batch, Decision, RequestStatus
from dashboard import tokens
from dashboard.api import api, pages
from dashboard.models import ApiToken, User
from streams.events import sha256
from streams.models import Event, Provider, Run, RunStatus
from tests import factories
from tests.long_form import examples

NOBODY = "00000000-0000-4000-8000-000000000000"  # the same in every worker: it is part of the tests' names
pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
ALL = ["runs:read", "runs:write", "approvals:read", "approvals:decide"]


class Caller:
    """A client with a bearer token; every answer is checked against the published schema."""

    def __init__(self, user: User, scopes: list[str]) -> None:
        self.row, self.token = tokens.create(name="t", user=user, scopes=scopes, actor="system", origin="test")
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def __call__(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Any:
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.token}", **headers}
        answer = self.client.generic(
            method, path if path.startswith("http") else f"/api/v1{path}", data, "application/json", headers=given
        )
        assert answer.headers["Content-Type"].startswith("application/json"), answer.content[:200]
        assert "no-store" in answer.headers["Cache-Control"]
        check_shape(answer)
        return answer


def check_shape(answer: Any) -> None:
    said = answer.json()
    if answer.status_code >= 400:
        assert {"code", "detail", "errors"} <= set(said)
        assert all(set(error) == {"field", "message"} for error in said["errors"])
        assert ("decision" in said) == (answer.status_code == 409)


def member(*groups: str) -> User:
    user = factories.user()
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


@pytest.fixture
def user() -> User:
    return member("Reviewer", "Operator")


@pytest.fixture
def call(user: User) -> Caller:
    return Caller(user, ALL)


@pytest.fixture
def asked() -> ApprovalRequest:
    return factories.request(
        arguments='{"to": "a@shop.example", "amount": 1.10}',
        message="The agent wants to send an e-mail.",
        deadline=timezone.now() + timedelta(hours=1),
    )


# --- who may call ---------------------------------------------------------------------------------------------------

OPERATIONS: list[tuple[str, str, str, Any]] = [
    ("POST", "/runs", "runs:write", {"provider": "x"}),
    ("POST", "/runs/watch", "runs:write", {"provider": "x", "external_id": "e"}),
    ("GET", f"/runs/{NOBODY}", "runs:read", None),
    ("GET", f"/runs/{NOBODY}/events", "runs:read", None),
    ("GET", "/approvals", "approvals:read", None),
    ("GET", f"/approvals/{NOBODY}", "approvals:read", None),
    ("POST", f"/approvals/{NOBODY}/decision", "approvals:decide", {"verdict": "approve", "input_sha256": "0" * 64}),
    ("DELETE", f"/approvals/{NOBODY}/decision", "approvals:decide", None),
]


def test_every_operation_is_in_the_table_above() -> None:
    paths = api.get_openapi_schema()["paths"]
    found = {(method.upper(), path.split("{")[0]) for path, item in paths.items() for method in item}
    listed = {
        (method, f"/api/v1{path}".split(str(path.split("/")[2]))[0] if "-" in path else f"/api/v1{path}")
        for method, path, _, _ in OPERATIONS
    }
    assert found == listed
    assert sum(len(item) for item in paths.values()) == len(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "scope", "body"), OPERATIONS)
def test_without_a_valid_token_every_operation_is_401(
    user: User, method: str, path: str, scope: str, body: Any
) -> None:
    client = Client()
    client.force_login(user)  # a session does not count
    caller = Caller(user, ALL)
    for header in (None, "", "Bearer", "Bearer ", "Bearer nonsense", f"Token {caller.token}", "Basic YTpi"):
        headers = {} if header is None else {"Authorization": header}
        answer = client.generic(method, f"/api/v1{path}", json.dumps(body), "application/json", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"
        check_shape(answer)


@pytest.mark.parametrize(("method", "path", "scope", "body"), OPERATIONS)
def test_every_operation_needs_its_own_scope(user: User, method: str, path: str, scope: str, body: Any) -> None:
    others = Caller(user, [other for other in tokens.SCOPES if other != scope])
    answer = others(method, path, body)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert scope in answer.json()["detail"]
    only = Caller(user, [scope])
    assert only(method, path, body).status_code not in {401, 403}


def test_a_revoked_token_is_refused_at_once(call: Caller) -> None:
    assert call("GET", "/approvals").status_code == 200
    tokens.revoke(call.row, actor="ada", origin="test")
    assert call("GET", "/approvals").status_code == 401


def test_an_expired_token_is_refused(call: Caller) -> None:
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert call("GET", "/approvals").status_code == 401


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/approvals/", 404, "not_found"),
        ("GET", "/approvals/not-a-uuid", 404, "not_found"),
        ("GET", f"/approvals/{NOBODY}", 404, "not_found"),
        ("GET", f"/runs/{NOBODY}", 404, "not_found"),
        ("GET", f"/runs/{NOBODY}/events", 404, "not_found"),
        ("DELETE", f"/approvals/{NOBODY}/decision", 404, "not_found"),
        ("DELETE", "/approvals", 405, "method_not_allowed"),
        ("GET", "/runs", 405, "method_not_allowed"),
        ("PUT", "/runs", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_answers_json(call: Caller, method: str, path: str, status: int, code: str) -> None:
    answer = call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"nonsense",
        b'{"provider": NaN}',
        b'{"provider": "x", "provider": "y"}',
        b'{"options": {"n": 1e400}}',
        b'{"options": {"n": ' + b"9" * 5000 + b"}}",
        b"[" * 100_000,
        b'{"options":' + b'{"a":' * 150 + b"1" + b"}" * 151,
        b'{"provider": "p\\u0000"}',
        b'{"options": {"metadata": {"deep": ["\\ud800"]}}}',
        b'{"options": {"metadata": {"a": 1, "a": 2}}}',
        b"\xff\xfe",
        b'{"provider": "x"} trailing',
    ],
)
def test_a_body_that_is_no_json_is_400(call: Caller, raw: bytes) -> None:
    answer = call("POST", "/runs", raw=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


@pytest.mark.parametrize("raw", [b"", b"[]", b'"x"', b"null", b"7"])
def test_a_body_that_is_no_object_is_422(call: Caller, raw: bytes) -> None:
    assert call("POST", "/runs", raw=raw).status_code == 422


def test_a_body_above_the_limit_is_413(call: Caller, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = call("POST", "/runs", {"provider": "x", "task": "t" * 1000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/runs", {"provider": "p", "taks": "x"}, ["taks"]),
        ("/runs", {}, ["provider"]),
        ("/runs", {"provider": "p", "task": 7, "options": []}, ["task", "options"]),
        ("/runs", {"provider": "nobody", "task": "x"}, ["provider"]),
        ("/runs/watch", {"provider": "p"}, ["external_id"]),
        ("/runs/watch", {"provider": "p", "external_id": ""}, ["external_id"]),
        ("/runs/watch", {"provider": "p", "external_id": "e", "extra": 1}, ["extra"]),
    ],
)
def test_what_is_wrong_with_a_body_is_said_by_field(
    call: Caller, path: str, body: dict[str, Any], fields: list[str]
) -> None:
    factories.provider(name="p")
    answer = call("POST", path, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == fields
    assert all(field in answer.json()["detail"] for field in fields)
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "query",
    ["status=nonsense", "staus=pending", "limit=0", "limit=1000", "cursor=x", "cursor=%00", "provider=%00",
     "run_id=x", "cursor=AAAA", "cursor=MjAyNi0wMS0wMVQwMDowMDowMCB4"],
)  # fmt: skip
def test_a_query_that_means_nothing_is_422(call: Caller, query: str) -> None:
    answer = call("GET", f"/approvals?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [query.split("=")[0]]


@pytest.mark.parametrize("query", ["after=-1", "after=x", f"after={2**63}", f"after={'9' * 5000}", "limit=0", "page=2"])
def test_an_events_query_that_means_nothing_is_422(call: Caller, query: str) -> None:
    assert call("GET", f"/runs/{factories.run().pk}/events?{query}").status_code == 422


def test_a_database_that_is_busy_is_503_and_our_own_fault_is_500(
    call: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: Exception) -> Callable[..., Any]:
        def raising(*_: Any, **__: Any) -> Any:
            raise error

        return raising

    monkeypatch.setattr("dashboard.access.visible_requests", fail(OperationalError("database is locked")))
    answer = call("GET", "/approvals")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "2")
    monkeypatch.setattr("dashboard.access.visible_requests", fail(KeyError("a secret detail")))
    answer = call("GET", "/approvals")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret detail" not in answer.content.decode()


# --- runs -----------------------------------------------------------------------------------------------------------


def test_starting_a_run_stores_a_queued_one(call: Caller, user: User) -> None:
    factories.provider(name="mindra")
    answer = call("POST", "/runs", {"provider": "mindra", "task": "Pay the bill", "workflow": "billing"})
    assert answer.status_code == 201
    run = Run.objects.get()
    assert answer.json() == {
        "id": str(run.pk), "provider": "mindra", "external_id": None, "thread_id": None, "continues": None,
        "continued_by": None, "status": "queued", "outcome": None, "title": "Pay the bill", "error": None,
        "started_at": answer.json()["started_at"], "ended_at": None, "pending": 0,
    }  # fmt: skip
    assert (run.status, run.started_by, run.task, run.workflow) == ("queued", user, "Pay the bill", "billing")


def test_what_the_provider_could_not_start_is_422_by_field(call: Caller) -> None:
    factories.provider(name="mindra")
    answer = call("POST", "/runs", {"provider": "mindra"})
    assert answer.status_code == 422
    assert "task" in [error["field"] for error in answer.json()["errors"]]


def test_watching_twice_finds_the_same_run(call: Caller) -> None:
    factories.provider(name="mindra")
    first = call("POST", "/runs/watch", {"provider": "mindra", "external_id": "exec_77"})
    again = call("POST", "/runs/watch", {"provider": "mindra", "external_id": "exec_77"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["external_id"] == "exec_77"


def test_an_ag_ui_run_belongs_to_its_caller(call: Caller) -> None:
    factories.provider(name="agent", kind="agui")
    answer = call("POST", "/runs/watch", {"provider": "agent", "external_id": "run-1"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "provider")


@pytest.mark.parametrize("path", ["/runs", "/runs/watch"])
def test_starting_needs_the_permission_too(path: str) -> None:
    factories.provider(name="mindra")
    answer = Caller(member("Reviewer"), ALL)("POST", path, {"provider": "mindra", "external_id": "e"} if "w" in path
                                             else {"provider": "mindra", "task": "x", "workflow": "y"})  # fmt: skip
    assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")


def test_a_run_tells_its_chain_and_what_waits(call: Caller) -> None:
    first = factories.run(status=RunStatus.FINISHED, outcome="continued", ended_at=timezone.now(), thread_id="t1")
    second = factories.run(provider=first.provider, continues=first, thread_id="t1", error="late")
    factories.request(run=second)
    factories.request(run=second, status=RequestStatus.EXPIRED, settled_at=timezone.now())
    one, two = call("GET", f"/runs/{first.pk}").json(), call("GET", f"/runs/{second.pk}").json()
    assert (one["continued_by"], one["outcome"], one["pending"]) == (str(second.pk), "continued", 0)
    assert (two["continues"], two["continued_by"], two["pending"], two["error"]) == (str(first.pk), None, 1, "late")
    assert one["ended_at"] and two["ended_at"] is None and two["thread_id"] == "t1"


def event(run: Run, seq: int, payload: str = "{}", **fields: Any) -> Event:
    return Event.objects.create(
        **{
            "run": run, "seq": seq, "kind": "chunk", "payload": payload, "sha256": sha256(payload),
            "received_at": timezone.now(), **fields,
        }
    )  # fmt: skip


def follow(call: Caller, path: str) -> list[dict[str, Any]]:
    items, pages_read = [], 0
    at: str | None = path
    while at:
        said = call("GET", at).json()
        items += said["items"]
        at = said["next"]
        pages_read += 1
        assert pages_read < 50
        assert at is None or at.startswith("http://testserver/api/v1/")
    return items


def test_events_come_in_order_and_in_pages(call: Caller) -> None:
    run = factories.run()
    for seq in range(1, 8):
        event(run, seq, f'{{"content": "{seq}"}}', source="house" if seq == 3 else "provider")
    items = follow(call, f"/runs/{run.pk}/events?limit=3")
    assert [item["seq"] for item in items] == list(range(1, 8))
    assert set(items[0]) == {"seq", "source", "kind", "at", "data", "sha256"}
    assert items[2]["source"] == "house"
    assert all(hashlib.sha256(item["data"].encode()).hexdigest() == item["sha256"] for item in items)
    assert [item["seq"] for item in follow(call, f"/runs/{run.pk}/events?after=5")] == [6, 7]
    assert call("GET", f"/runs/{run.pk}/events?after=7").json() == {"items": [], "next": None}


def test_events_that_come_while_paging_are_not_lost(call: Caller) -> None:
    run = factories.run()
    for seq in (1, 2, 3):
        event(run, seq)
    first = call("GET", f"/runs/{run.pk}/events?limit=2").json()
    event(run, 4)
    assert [item["seq"] for item in follow(call, first["next"])] == [3, 4]


def test_a_page_holds_only_so_much_text(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_MAX_CHARS", 1000)
    run = factories.run()
    for seq, size in enumerate((400, 400, 400, 5000, 10), start=1):
        event(run, seq, "x" * size)
    sizes = []
    at: str | None = f"/runs/{run.pk}/events"
    while at:
        said = call("GET", at).json()
        sizes.append([len(item["data"]) for item in said["items"]])
        at = said["next"]
    assert sizes == [[400, 400], [400], [5000], [10]]


# --- approvals ------------------------------------------------------------------------------------------------------

FIELDS = {
    "id", "run_id", "provider", "tool_name", "tool_input", "tool_input_text", "input_sha256", "message", "status",
    "tier", "can", "cannot", "needs_answer", "limits", "dialect", "answer_schema", "batch", "requested_at", "deadline",
    "decision", "delivery", "ran", "ran_input_text",
}  # fmt: skip


def test_a_request_has_every_field_that_is_promised(call: Caller, asked: ApprovalRequest) -> None:
    said = call("GET", f"/approvals/{asked.pk}").json()
    assert set(said) == FIELDS
    assert said["tool_input"] == {"to": "a@shop.example", "amount": 1.1}
    assert said["tool_input_text"] == asked.arguments
    assert said["input_sha256"] == hashlib.sha256(said["tool_input_text"].encode()).hexdigest()
    assert said["can"] == {"edit": False, "reason": True, "answer": False, "undo": False}
    assert said["batch"] == {"id": None, "open": 1, "total": 1}
    assert (said["status"], said["tier"], said["tool_name"]) == ("pending", "T2", "send_email")
    assert (said["decision"], said["delivery"], said["answer_schema"]) == (None, None, None)
    assert said["deadline"] and said["requested_at"] and said["message"]
    assert said["provider"] == asked.run.provider.name and said["run_id"] == str(asked.run_id)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        ('{"n": NaN}', None),
        ('{"n": Infinity}', None),
        ('{"n": 1e400}', None),
        ('{"n": ' + "9" * 5000 + "}", None),
        ("[" * 200 + "]" * 200, None),
        ("[" * 50_000, None),
        ("[" * 90 + "]" * 90, json.loads("[" * 90 + "]" * 90)),
        ("no json", None),
        ("", None),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"s": "\\ud800"}', {"s": "\ud800"}),
        ('{"\\udfff": "\\u0000"}', {"\udfff": "\x00"}),
        ('"a string"', "a string"),
        ("null", None),
        ("-0", 0),
    ],
)
def test_any_arguments_are_shown(call: Caller, text: str, parsed: Any) -> None:
    asked = factories.request(arguments=text)
    for said in (call("GET", f"/approvals/{asked.pk}").json(), call("GET", "/approvals").json()["items"][0]):
        assert said["tool_input_text"] == text
        assert said["tool_input"] == parsed


def test_the_list_is_oldest_first_and_filtered(call: Caller) -> None:
    now = timezone.now()
    rows = [factories.request(requested_at=now - timedelta(minutes=n)) for n in (1, 3, 2)]
    factories.request(status=RequestStatus.EXPIRED, settled_at=now)
    ids = [item["id"] for item in call("GET", "/approvals?status=pending").json()["items"]]
    assert ids == [str(rows[n].pk) for n in (1, 2, 0)]
    assert len(call("GET", "/approvals").json()["items"]) == 4
    mine = call("GET", f"/approvals?provider={rows[0].run.provider.name}").json()["items"]
    assert [item["id"] for item in mine] == [str(rows[0].pk)]
    assert len(call("GET", f"/approvals?run_id={rows[1].run_id}").json()["items"]) == 1
    assert call("GET", "/approvals?provider=nobody").json() == {"items": [], "next": None}


def test_pages_neither_repeat_nor_skip_when_rows_come_and_go(call: Caller) -> None:
    same = timezone.now()  # the key's second part has to tell them apart
    run = factories.run()
    before = [factories.request(run=run, requested_at=same) for _ in range(7)]
    first = call("GET", "/approvals?status=pending&limit=3").json()
    seen = [item["id"] for item in first["items"]]
    late = factories.request(run=run)
    settled = ApprovalRequest.objects.filter(pk=seen[0])
    settled.update(status=RequestStatus.EXPIRED, settled_at=timezone.now())
    seen += [item["id"] for item in follow(call, first["next"])]
    assert sorted(seen) == sorted(str(row.pk) for row in [*before, late])


def test_the_next_page_keeps_the_configured_origin(call: Caller, settings: Any) -> None:
    settings.ORIGINS = ["https://testserver"]
    factories.request()
    factories.request()
    said = call("GET", "/approvals?limit=1").json()
    assert said["next"].startswith("https://testserver/api/v1/approvals?")


def test_the_list_costs_a_fixed_number_of_queries(call: Caller, django_assert_num_queries: Any, user: User) -> None:
    def fill(count: int) -> None:
        for _ in range(count):
            run = factories.run()
            batch = Batch.objects.create(run=run, total=2)
            factories.request(run=run, batch=batch)
            decided(factories.request(run=run, batch=batch, status=RequestStatus.HELD), user)

    fill(1)
    call("GET", "/approvals")
    with django_assert_num_queries(7) as few:
        call("GET", "/approvals")
    fill(4)
    with django_assert_num_queries(len(few)):
        assert len(call("GET", "/approvals").json()["items"]) == 10


def decided(asked: ApprovalRequest, by: User, **fields: Any) -> Decision:
    return Decision.objects.create(
        **{
            "request": asked, "by": by, "verdict": "approve", "seen_sha256": asked.input_sha256,
            "leaves_at": timezone.now() + timedelta(minutes=1), **fields,
        }
    )  # fmt: skip


def test_a_batch_says_how_many_are_open(call: Caller, user: User) -> None:
    run = factories.run()
    batch = Batch.objects.create(run=run, total=3)
    rows = [factories.request(run=run, batch=batch) for _ in range(2)]
    held = factories.request(run=run, batch=batch, status=RequestStatus.HELD)
    decided(held, user, reason="fine")
    decided(held, user, undone_at=timezone.now(), verdict="reject")
    for row in (*rows, held):
        assert call("GET", f"/approvals/{row.pk}").json()["batch"] == {"id": str(batch.pk), "open": 2, "total": 3}
    said = call("GET", f"/approvals/{held.pk}").json()
    assert (said["decision"]["verdict"], said["decision"]["by"], said["decision"]["reason"]) == (
        "approve", user.username, "fine",
    )  # fmt: skip
    assert said["can"]["undo"] is True
    other = Caller(member("Reviewer"), ALL)("GET", f"/approvals/{held.pk}").json()
    assert other["can"]["undo"] is False


# --- deciding -------------------------------------------------------------------------------------------------------


def decision(asked: ApprovalRequest, verdict: str = "approve", **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "input_sha256": asked.input_sha256, **more}


def test_a_decision_is_taken_and_the_same_again_is_409(call: Caller, asked: ApprovalRequest, user: User) -> None:
    path = f"/approvals/{asked.pk}/decision"
    answer = call("POST", path, decision(asked, reason="looks right", undo_s=600))
    assert answer.status_code == 202
    said = answer.json()
    assert set(said) == FIELDS
    assert (said["status"], said["batch"]["open"], said["can"]["undo"]) == ("held", 0, True)
    assert {key: said["decision"][key] for key in ("verdict", "by", "reason")} == {
        "verdict": "approve", "by": user.username, "reason": "looks right",
    }  # fmt: skip
    assert said["delivery"] == {"state": "waiting", "attempts": 0, "last_error": None}
    row = Decision.objects.get()
    assert (row.via, row.seen_sha256) == ("api", asked.input_sha256)
    for again in (decision(asked), decision(asked, "reject")):
        answer = call("POST", path, again)
        assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")
        assert answer.json()["decision"] == said["decision"]
    assert Decision.objects.count() == 1


def test_undo_works_within_the_window_and_not_twice(call: Caller, asked: ApprovalRequest) -> None:
    path = f"/approvals/{asked.pk}/decision"
    call("POST", path, decision(asked, undo_s=600))
    answer = call("DELETE", path)
    assert (answer.status_code, answer.json()["status"], answer.json()["decision"]) == (200, "pending", None)
    answer = call("DELETE", path)
    assert (answer.status_code, answer.json()["decision"]) == (409, None)


def test_other_arguments_than_those_seen_are_409(call: Caller, asked: ApprovalRequest) -> None:
    answer = call("POST", f"/approvals/{asked.pk}/decision", {"verdict": "approve", "input_sha256": "0" * 64})
    assert (answer.status_code, answer.json()["code"], answer.json()["decision"]) == (409, "input_changed", None)
    assert not Decision.objects.exists()


def test_a_settled_request_is_409_not_pending(call: Caller) -> None:
    gone = factories.request(status=RequestStatus.EXPIRED, settled_at=timezone.now())
    answer = call("POST", f"/approvals/{gone.pk}/decision", decision(gone))
    assert (answer.status_code, answer.json()["code"], answer.json()["decision"]) == (409, "not_pending", None)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_deciding_needs_the_permission(asked: ApprovalRequest, method: str) -> None:
    answer = Caller(member("Operator"), ALL)(method, f"/approvals/{asked.pk}/decision", decision(asked))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
    assert not Decision.objects.exists()


def test_whoever_started_a_run_may_not_decide_where_four_eyes_are_wanted(call: Caller, user: User) -> None:
    run = factories.run(provider=factories.provider(options={"four_eyes": True}), started_by=user)
    asked = factories.request(run=run)
    answer = call("POST", f"/approvals/{asked.pk}/decision", decision(asked))
    assert (answer.status_code, answer.json()["code"]) == (403, "own_run")
    assert AuditEntry.objects.latest("seq").action == "decision.denied"


@pytest.mark.parametrize(
    ("kind", "detail"),
    [("middesk", "Decide in Middesk; this page is read-only."), ("older", "knows no provider of the kind older")],
)
def test_what_a_provider_takes_from_nobody_here_is_read_only(
    call: Caller, client: Client, user: User, kind: str, detail: str
) -> None:
    provider = factories.provider(kind="middesk", options={"resume": {"enabled": True}})
    asked = factories.request(run=factories.run(provider=provider), offers_edit=True, offers_answer=True)
    path = f"/approvals/{asked.pk}"
    assert call("POST", f"{path}/decision", {**decision(asked), "undo_s": 60}).status_code == 202
    every = {"edit": True, "reason": True, "answer": True, "undo": True}
    assert call("GET", path).json()["can"] == every
    assert call("DELETE", f"{path}/decision").status_code == 200
    Provider.objects.filter(pk=provider.pk).update(kind=kind, options={})
    assert call("GET", path).json()["can"] == dict.fromkeys(every, False)
    assert call("GET", "/approvals").json()["items"][0]["can"] == dict.fromkeys(every, False)
    answer = call("POST", f"{path}/decision", decision(asked))
    assert (answer.status_code, answer.json()["code"]) == (403, "read_only")
    assert detail in answer.json()["detail"]
    assert AuditEntry.objects.latest("seq").action == "decision.denied"
    schema = client.get("/api/v1/openapi.json").json()
    assert "`read_only`" in schema["paths"]["/api/v1/approvals/{request_id}/decision"]["post"]["description"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"verdict": "maybe"}, "verdict"),
        ({"verdict": "APPROVE"}, "verdict"),
        ({"input_sha256": None}, "input_sha256"),
        ({"undo_s": 601}, "undo_s"),
        ({"undo_s": -1}, "undo_s"),
        ({"undo_s": "5"}, "undo_s"),
        ({"undo_s": True}, "undo_s"),
        ({"undo_s": 1.5}, "undo_s"),
        ({"comment": "x"}, "comment"),
        ({"edited_input": {"to": "b@shop.example"}}, "edited_input"),
    ],
)
def test_a_wrong_decision_is_422_by_field(
    call: Caller, asked: ApprovalRequest, wrong: dict[str, Any], field: str
) -> None:
    answer = call("POST", f"/approvals/{asked.pk}/decision", decision(asked) | wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not Decision.objects.exists()


def test_edited_arguments_are_kept_as_they_were_written(call: Caller) -> None:
    asked = factories.request(arguments='{"amount": 1}', offers_edit=True, answer_schema="")
    written = '{ "amount": 12345678901234567890.10,  "note": "\\u00e9" }'
    raw = json.dumps(decision(asked))[:-1] + ', "edited_input" : ' + written + ' , "answer": null}'
    answer = call("POST", f"/approvals/{asked.pk}/decision", raw=raw.encode())
    assert answer.status_code == 202, answer.content
    row = Decision.objects.get()
    assert (row.edited, row.answer) == (written, "")


# --- anything at all ------------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["provider", "task", "workflow", "options", "external_id", "verdict", "input_sha256", "reason", "undo_s", "x"]
)
BODIES = st.dictionaries(NAMES, ANYTHING | st.sampled_from(["mindra", "approve", "reject"]), max_size=6)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES | ANYTHING, query=st.dictionaries(NAMES | st.sampled_from(["status", "cursor", "limit"]), st.text()))
def test_no_input_is_our_own_fault(call: Caller, asked: ApprovalRequest, body: Any, query: dict[str, str]) -> None:
    Provider.objects.get_or_create(name="mindra", kind="mindra", base_url="http://127.0.0.1:9")
    for method, path in (
        ("POST", "/runs"),
        ("POST", "/runs/watch"),
        ("POST", f"/approvals/{asked.pk}/decision"),
        ("GET", f"/approvals?{urlencode(query, errors='surrogatepass')}"),
        ("GET", f"/runs/{asked.run_id}/events?{urlencode(query, errors='surrogatepass')}"),
    ):
        answer = call(method, path, body if method == "POST" else None)
        assert answer.status_code in {200, 201, 202, 400, 409, 422}, answer.content


# --- the page about it ----------------------------------------------------------------------------------------------


def test_the_schema_is_valid_and_public(client: Client) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    assert schema["openapi"].startswith("3.")
    assert schema["components"]["securitySchemes"]["Bearer"] == {"type": "http", "scheme": "bearer"}
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


def test_answers_keep_to_the_schema(call: Caller, client: Client, asked: ApprovalRequest) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    event(asked.run, 1)
    for path, name in (
        ("/approvals", "Approvals"),
        (f"/approvals/{asked.pk}", "Approval"),
        (f"/runs/{asked.run_id}", "Run"),
        (f"/runs/{asked.run_id}/events", "Events"),
        ("/approvals?status=x", "Problem"),
    ):
        jsonschema.validate(
            call("GET", path).json(), {"$ref": f"#/components/schemas/{name}", "components": schema["components"]}
        )
