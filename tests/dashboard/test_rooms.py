"""A run's page while text comes: what is new is told at once, and nothing else is read for it."""

from typing import Any

import pytest

from dashboard.rooms import OWED, RunRoom
from streams import announce
from streams.models import Run, RunStatus
from tests import factories
from tests.dashboard.telling import tell

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]


def open_room() -> tuple[Run, RunRoom]:
    run = factories.run(title="Refunds of May", status=RunStatus.STREAMING)
    tell(run)
    room = RunRoom.of(run.pk)
    room.everything(0)
    room.news()
    return run, room


def test_more_text_is_told_with_one_query_and_the_head_is_owed(django_assert_num_queries: Any) -> None:
    run, room = open_room()
    tell(run)
    with django_assert_num_queries(1):
        told = room.news({announce.text_topic(run.pk)})
    assert "2 parts joined" in told
    assert 'id="run-state"' not in told
    assert room.owes
    with django_assert_num_queries(1):  # whether more came: the rows around the text are not read again for it
        head = room.news({OWED})
    assert 'id="run-state"' in head
    assert '<dd class="mono">2</dd>' in head
    assert "parts joined" not in head
    assert room.news({OWED}) == ""


def test_what_was_told_of_the_run_itself_is_shown_at_once() -> None:
    run, room = open_room()
    tell(run)
    Run.objects.filter(pk=run.pk).update(status=RunStatus.WAITING)
    told = room.news({announce.text_topic(run.pk), announce.run_topic(run.pk)})
    assert "2 parts joined" in told
    assert told != room.news()
    assert not room.owes


def test_nothing_new_owes_nothing() -> None:
    run, room = open_room()
    assert room.news(set()) == ""
    assert not room.owes


def test_who_comes_between_leaves_the_others_their_head() -> None:
    """A newcomer reads the run anew: what is different goes to those in step with the next news."""
    run, room = open_room()
    Run.objects.filter(pk=run.pk).update(status=RunStatus.WAITING)
    room.everything(0)
    assert room.owes
    tell(run)
    told = room.news({announce.text_topic(run.pk)})
    assert "parts joined" in told
    assert 'data-status="waiting"' in told
    assert not room.owes


def test_a_question_among_the_text_is_never_left_for_later() -> None:
    run, room = open_room()
    payload = {"approval_id": "a1", "tool_name": "refund", "tool_input": {"amount": 1}}
    tell(run, "approval_request", **payload)
    told = room.news({announce.text_topic(run.pk)})
    assert "is-ask" in told
