"""An account is set to the framework that its first pause shows; a later, other one is told and changes nothing."""

import json
import threading
from dataclasses import replace

import pytest
from django.db import connection

from approvals import audit
from approvals.models import AuditEntry
from dashboard.desk import frameworks
from streams import dialects
from streams.models import Event, Provider, Run
from tests.dialects import pauses

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]


def pinned(run: Run) -> str:
    return Provider.objects.values_list("dialect", flat=True).get(pk=run.provider_id)


def remarks(run: Run) -> list[tuple[str, str]]:
    rows = Event.objects.filter(run=run, source="house").order_by("seq").values_list("kind", "payload")
    return [(kind, json.loads(payload)["text"]) for kind, payload in rows]


def actions() -> list[str]:
    return list(AuditEntry.objects.filter(action__startswith="provider.").values_list("action", flat=True))


PAUSES = {
    "pydantic-ai": pauses.pydantic(responseSchema=pauses.ONLY_APPROVED),
    "agent-framework": pauses.framework(1),
    "langgraph": pauses.langgraph("send_email"),
    "strands": pauses.strands(),
    "adk": pauses.adk(1),
    "crewai": pauses.crewai("approved", "rejected"),
}


@pytest.mark.parametrize("name", PAUSES)
def test_the_first_pause_of_a_known_framework_sets_the_account_to_it_once(name: str) -> None:
    run = pauses.opened()
    (asked,) = pauses.asks_with(run, PAUSES[name], calls=pauses.mail())
    assert (pinned(run), asked.status, asked.dialect.split("-hitl")[0]) == (name, "pending", name)
    assert [kind for kind, _ in remarks(run)] == ["dialect"]
    assert name in remarks(run)[0][1]
    again = pauses.opened(run.provider)
    pauses.asks_with(again, PAUSES[name], calls=pauses.mail())
    assert (pinned(run), remarks(again), actions()) == (name, [], ["provider.dialect_recognised"])
    entry = AuditEntry.objects.get(action="provider.dialect_recognised")
    assert (entry.actor, entry.target, json.loads(entry.data)["dialect"]) == (
        "system",
        f"provider:{run.provider_id}",
        name,
    )
    assert audit.verify().bad is None


def test_the_remark_stands_behind_the_pause_in_the_same_numbers() -> None:
    run = pauses.opened()
    pauses.asks_with(run, PAUSES["strands"], calls=pauses.mail())
    rows = list(Event.objects.filter(run=run).order_by("seq").values_list("seq", "source", "kind"))
    assert [seq for seq, _, _ in rows] == list(range(1, len(rows) + 1))
    assert rows[-2][1:] == ("provider", "RUN_FINISHED")
    assert rows[-1][1:] == ("house", "dialect")


def test_a_pause_that_anybody_could_have_made_sets_nothing() -> None:
    run = pauses.opened()
    (asked,) = pauses.asks_with(run, {"id": "ask-1", "reason": "tool_call", "toolCallId": "tc-4"}, calls=pauses.mail())
    assert (pinned(run), asked.dialect, asked.unverified, actions()) == ("", "plain", True, [])
    assert "not recognised" in asked.limits


def test_what_somebody_chose_stays() -> None:
    run = pauses.opened(pauses.server(dialect="pydantic-ai-server"))
    pauses.asks_with(run, PAUSES["pydantic-ai"], calls=pauses.mail())
    assert (pinned(run), actions(), remarks(run)) == ("pydantic-ai-server", [], [])


def test_a_pause_of_another_framework_is_told_and_cannot_be_answered() -> None:
    run = pauses.opened(pauses.server(dialect="strands"))
    (asked,) = pauses.asks_with(run, PAUSES["langgraph"], calls=pauses.mail())
    assert (pinned(run), asked.status) == ("strands", "stale")
    assert "looks like langgraph-hitl" in asked.problem
    ((kind, text),) = remarks(run)
    assert (kind, "langgraph-hitl" in text and "strands" in text) == ("other_dialect", True)
    assert actions() == ["provider.dialect_differs"]
    known = frameworks.of(run.provider)
    assert known is not None
    assert known.differs is not None
    assert (known.differs.seen, known.differs.run) == ("langgraph-hitl", run.pk)


def test_a_run_that_began_before_the_account_was_set_changes_it_no_more() -> None:
    account = pauses.server()
    first, second = pauses.opened(account), pauses.opened(account)
    pauses.asks_with(first, PAUSES["strands"], calls=pauses.mail())
    (asked,) = pauses.asks_with(second, PAUSES["adk"])
    assert (pinned(second), asked.dialect, asked.status) == ("strands", "adk", "pending")
    assert [kind for kind, _ in remarks(second)] == ["other_dialect"]
    assert actions() == ["provider.dialect_recognised", "provider.dialect_differs"]


@pytest.mark.parametrize(
    ("dialect", "marked"), [("", False), ("strands", True), ("langgraph", False), ("plain", False)]
)
def test_a_dialect_that_was_not_tried_is_marked(dialect: str, marked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dialects._ROWS, "strands", replace(dialects.DIALECTS["strands"], verified=False))
    known = frameworks.of(pauses.server(dialect=dialect))
    assert known is not None
    assert known.unverified == marked


def test_an_account_whose_pauses_are_not_recognised_is_marked() -> None:
    run = pauses.opened()
    pauses.asks_with(run, {"id": "ask-1", "reason": "tool_call", "toolCallId": "tc-4"}, calls=pauses.mail())
    known = frameworks.of(run.provider)
    assert known is not None
    assert (known.unverified, known.name) == (True, "")
    assert "not recognised" in known.limits[0]


def test_accounts_of_other_kinds_have_no_framework() -> None:
    assert frameworks.of(pauses.server(kind="mindra")) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="one writer at a time: nothing can happen at once")
def test_of_two_runs_that_pause_at_once_one_sets_the_account() -> None:
    account = pauses.server()
    runs = [pauses.opened(account) for _ in range(4)]
    ready = threading.Barrier(len(runs))

    def pause(run: Run) -> None:
        try:
            ready.wait(30)
            pauses.asks_with(run, PAUSES["strands"], calls=pauses.mail())
        finally:
            connection.close()

    threads = [threading.Thread(target=pause, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (pinned(runs[0]), actions()) == ("strands", ["provider.dialect_recognised"])
    assert sum(len(remarks(run)) for run in runs) == 1
    assert audit.verify().bad is None
