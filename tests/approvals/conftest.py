"""Fake providers, people who may decide, and the database's clock."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission

from approvals import deadlines
from dashboard.models import User
from streams import providers
from streams.models import Checkpoint, Run, RunStatus
from tests import factories
from tests.approvals import fakes


@pytest.fixture(autouse=True)
def _fake_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "REGISTRY", fakes.REGISTRY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> fakes.Clock:
    held = fakes.Clock()
    monkeypatch.setattr(deadlines, "now", held)
    return held


@pytest.fixture
def reviewer(db: None) -> Callable[..., User]:
    def make(**fields: object) -> User:
        made = factories.user(**fields)
        made.user_permissions.add(Permission.objects.get(codename="decide_request"))
        return User.objects.get(pk=made.pk)

    return make


@pytest.fixture
def ada(reviewer: Callable[..., User]) -> User:
    return reviewer()


@pytest.fixture
def bo(reviewer: Callable[..., User]) -> User:
    return reviewer()


@pytest.fixture
def run(db: None) -> Run:
    """A run whose questions are answered one by one."""
    return factories.run(provider=factories.provider(kind="alone"))


@pytest.fixture
def thread(db: None) -> Run:
    """A run whose questions are answered together, in the call that opens the next run."""
    made = factories.run(provider=factories.provider(kind="together"), status=RunStatus.WAITING, thread_id="th-1")
    Checkpoint.objects.create(run=made, seq=1, state="{}")
    return made
