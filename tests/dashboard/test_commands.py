"""The commands: what goes to stdout is what was promised, an error names the field and the cause."""

import json
import re
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import serializers
from django.core.management import call_command
from django.core.management.base import CommandError

from approvals.models import AuditEntry
from dashboard import connection, tokens
from dashboard.management import arguments
from dashboard.models import ApiToken
from streams.models import Provider, Run
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as error:
        run(*words)
    return str(error.value)


# --- providers ------------------------------------------------------------------------------------------------------


def test_adding_a_provider_prints_its_id_and_keeps_the_secret_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_KEY", "canary-key-4711")
    said = json.loads(
        run("providers", "add", "agent", "--kind", "agui", "--base-url", "http://agent:8000/",
            "--secret-env", "AGENT_KEY", "--option", "stall=5", "--option", "note=plain text",
            "--option", 'nested={"a": [1]}')
    )  # fmt: skip
    row = Provider.objects.get()
    assert said == {"id": str(row.pk), "name": "agent"}
    assert row.secret == "canary-key-4711"
    assert row.options == {"stall": 5, "note": "plain text", "nested": {"a": [1]}}
    stored = serializers.serialize("json", [row, *AuditEntry.objects.all()])
    assert "canary" not in stored
    assert AuditEntry.objects.get().action == "provider.added"
    assert "canary" not in run("providers", "list") + run("providers", "list", "--json")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"NAME": "two words"}, "name: "),
        ({"NAME": "taken"}, "name: "),
        ({"--kind": "nonsense"}, "kind: unknown provider kind 'nonsense'; there are "),
        ({"--base-url": "agent.example"}, "base_url: it must begin with http:// or https://"),
        ({"--base-url": "ftp://agent.example"}, "base_url: it must begin"),
        ({"--base-url": "https://user:word@agent.example"}, "base_url: no user name"),
        ({"--base-url": "https://agent.example:99999"}, "base_url: not a URL"),
        ({"--base-url": "https://agent.example/a b"}, "base_url: no fragment"),
        ({"--base-url": "https://agent.example/" + "x" * 500}, "base_url: Ensure this value has at most 500"),
        ({"--secret-env": "NOT_SET_ANYWHERE"}, "--secret-env: the environment variable NOT_SET_ANYWHERE is empty"),
        ({"--webhook-secret-env": "NOT_SET"}, "--webhook-secret-env: the environment variable NOT_SET is empty"),
        ({"--webhook-secret-env": "PATH"}, "webhook_secret: a provider of kind 'agui' sends no webhooks"),
        ({"--dialect": "klingon"}, "dialect: unknown dialect 'klingon'; there are "),
        ({"--option": "novalue"}, "--option: 'novalue'"),
        ({"--option": "four_eyes=yes"}, "options: four_eyes is true or false"),
        ({"--option": "answer_by_id=1"}, "options: answer_by_id is true or false"),
    ],
)
def test_a_provider_that_cannot_be_added_names_the_field(changed: dict[str, str], said: str) -> None:
    factories.provider(name="taken")
    given = {"NAME": "agent", "--kind": "agui", "--base-url": "http://127.0.0.1:1/", **changed}
    name = given.pop("NAME")
    assert said in refused("providers", "add", name, *(word for pair in given.items() for word in pair))
    assert Provider.objects.count() == 1


def test_without_a_field_key_no_secret_is_taken(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FIELD_KEYS = []
    monkeypatch.setenv("AGENT_KEY", "canary-key-4711")
    words = (
        "providers",
        "add",
        "a",
        "--kind",
        "agui",
        "--base-url",
        "http://127.0.0.1:1/",
        "--secret-env",
        "AGENT_KEY",
    )
    assert "COUNTERSIGN_FIELD_KEYS" in refused(*words)
    assert not Provider.objects.exists()


def test_the_list_shows_state_and_never_a_secret() -> None:
    factories.provider(name="first", paused=True)
    row = factories.provider(name="second")
    row.set_secret("canary")
    row.save()
    lines = run("providers", "list").splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["first", "mindra", "http://127.0.0.1:9", "none", "paused"],
        ["second", "mindra", "http://127.0.0.1:9", "set", "active"],
    ]
    shown = json.loads(run("providers", "list", "--json"))
    assert [(one["name"], one["paused"], one["has_secret"]) for one in shown] == [
        ("first", True, False),
        ("second", False, True),
    ]
    assert {(one["webhooks_to"], one["has_webhook_secret"]) for one in shown} == {(None, False)}


def test_an_account_that_sends_webhooks_shows_where_to_and_whether_their_secret_is_set(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.ORIGINS = ["https://approvals.example.org"]
    monkeypatch.setenv("HOOK_SECRET", "canary-hook-secret")
    words = ("--kind", "middesk", "--base-url", "https://api.middesk.com/v1")
    run("providers", "add", "kyb", *words, "--webhook-secret-env", "HOOK_SECRET")
    run("providers", "add", "other", *words)
    said = run("providers", "list")
    assert "https://approvals.example.org/hooks/kyb/ (secret set)" in said
    assert "https://approvals.example.org/hooks/other/ (secret not set)" in said
    shown = run("providers", "list", "--json")
    assert [(one["webhooks_to"], one["has_webhook_secret"]) for one in json.loads(shown)] == [
        ("https://approvals.example.org/hooks/kyb/", True),
        ("https://approvals.example.org/hooks/other/", False),
    ]
    assert Provider.objects.get(name="kyb").webhook_secret == "canary-hook-secret"
    assert "canary" not in said + shown + serializers.serialize("json", [*Provider.objects.all()])
    assert "canary" not in serializers.serialize("json", [*AuditEntry.objects.all()])


def test_what_looks_wrong_in_a_new_account_is_said_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_KEY", "mk_test_4711")
    out, err = StringIO(), StringIO()
    words = ("--kind", "middesk", "--base-url", "https://api.middesk.com/v1", "--secret-env", "AGENT_KEY")
    call_command("providers", "add", "kyb", *words, stdout=out, stderr=err)
    assert json.loads(out.getvalue())["name"] == "kyb"
    assert "warning: a key that begins with mk_test belongs to the sandbox" in err.getvalue()
    assert "4711" not in err.getvalue()


def test_check_fails_when_one_account_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    factories.provider(name="bad")
    factories.provider(name="good")
    answers = {
        "bad": connection.Found("refused", "nothing listens at x:1"),
        "good": connection.Found("ok", "it answers"),
    }
    monkeypatch.setattr(connection, "check", lambda row: answers[row.name])
    assert run("providers", "check", "good") == "good: ok: it answers\n"
    out = StringIO()
    with pytest.raises(CommandError, match="bad"):
        call_command("providers", "check", "--json", stdout=out)
    assert [(one["name"], one["ok"], one["code"]) for one in json.loads(out.getvalue())] == [
        ("bad", False, "refused"),
        ("good", True, "ok"),
    ]
    assert "no provider 'other'" in refused("providers", "check", "other")


def test_check_tells_doubts_and_does_not_fail_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    factories.provider(name="one")
    found = connection.Found("ok", "it answers", ("this machine's clock is 9 minutes behind the server's",))
    monkeypatch.setattr(connection, "check", lambda row: found)
    assert run("providers", "check") == (
        "one: ok: it answers\none: warning: this machine's clock is 9 minutes behind the server's\n"
    )
    (shown,) = json.loads(run("providers", "check", "--json"))
    assert shown["warnings"] == ["this machine's clock is 9 minutes behind the server's"]


def test_check_leaves_paused_accounts_alone_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    factories.provider(name="asleep", paused=True)
    factories.provider(name="awake")
    tried: list[str] = []

    def check(row: Provider) -> connection.Found:
        tried.append(row.name)
        return connection.Found("ok", "it answers")

    monkeypatch.setattr(connection, "check", check)
    assert run("providers", "check").splitlines()[0].startswith("asleep: not tried: it is paused")
    assert tried == ["awake"]
    assert [one["ok"] for one in json.loads(run("providers", "check", "--json"))] == [None, True]
    assert run("providers", "check", "asleep") == "asleep: ok: it answers\n"


# --- runs -----------------------------------------------------------------------------------------------------------


def test_starting_prints_the_id_of_a_queued_run() -> None:
    factories.provider(name="mindra")
    said = json.loads(
        run("runs", "start", "mindra", "--task", "Pay", "--workflow", "billing", "--option", 'metadata={"team": "a"}')
    )
    row = Run.objects.get(pk=UUID(said["id"]))
    assert set(said) == {"id"}
    assert (row.status, row.task, row.workflow, row.options) == (
        "queued",
        "Pay",
        "billing",
        {"metadata": {"team": "a"}},
    )


def test_watching_prints_the_same_id_twice() -> None:
    factories.provider(name="mindra")
    assert run("runs", "watch", "mindra", "exec_1") == run("runs", "watch", "mindra", "exec_1")
    assert Run.objects.get().external_id == "exec_1"


def test_a_run_is_shown_as_lines_and_as_json() -> None:
    row = factories.run(title="evil \x1b[2J\u202e title", error="")
    said = run("runs", "show", str(row.pk))
    assert "⟨U+001B⟩" in said and "\x1b" not in said and "\u202e" not in said
    assert re.search(rf"^id: +{row.pk}$", said, re.MULTILINE)
    shown = json.loads(run("runs", "show", str(row.pk), "--json"))
    assert (shown["id"], shown["status"], shown["pending"]) == (str(row.pk), "streaming", 0)
    assert shown["title"] == row.title


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "start", "nobody", "--task", "x"), "provider: there is no 'nobody'; there are: mindra"),
        (("runs", "start", "mindra"), "task: "),
        (
            ("runs", "start", "mindra", "--task", "x", "--option", "a=1", "--option", "a=2"),
            "--option: a is given twice",
        ),
        (("runs", "watch", "mindra", " "), "external_id: "),
        (("runs", "show", "nonsense"), "id: there is no run 'nonsense'"),
        (("runs", "show", str(uuid4())), "id: there is no run"),
    ],
)
def test_a_run_that_cannot_be_had_names_the_field(words: tuple[str, ...], said: str) -> None:
    factories.provider(name="mindra")
    assert said in refused(*words)
    assert not Run.objects.exists()


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_stands_alone_on_stdout_and_works() -> None:
    user = factories.user(username="ada")
    said = run("tokens", "create", "ci", "--user", "ada", "--scope", "runs:read", "--scope", "approvals:read")
    token = said.removesuffix("\n")
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", token)
    row = tokens.find(token)
    assert row and (row.user, row.scopes, row.expires_at) == (user, ["approvals:read", "runs:read"], None)


def test_a_token_can_end_by_itself() -> None:
    factories.user(username="ada")
    run("tokens", "create", "ci", "--user", "ada", "--scope", "runs:read", "runs:write", "--days", "7")
    row = ApiToken.objects.get()
    assert row.expires_at and (row.expires_at - row.created_at).days in {6, 7}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--user", "nobody", "--scope", "runs:read"), "user: there is no 'nobody'"),
        (("--user", "ada", "--scope", "runs:delete"), "scope: unknown runs:delete; there are runs:read"),
        (("--user", "ada", "--scope", "runs:read", "--days", "0"), "days: 1 to 3650"),
    ],
)
def test_a_token_that_cannot_be_made_names_the_field(words: tuple[str, ...], said: str) -> None:
    factories.user(username="ada")
    assert said in refused("tokens", "create", "ci", *words)
    assert not ApiToken.objects.exists()


def test_a_table_keeps_hostile_text_on_its_line() -> None:
    made = arguments.table(("A", "B"), [("x\ny", "\x1b]0;title\x07"), ("long", "z" * 200)])
    assert len(made.splitlines()) == 3
    assert "\x1b" not in made and "…" in made
