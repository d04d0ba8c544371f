"""API tokens: kept as a hash, limited, revoked at once, their use noted sparingly."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.core import serializers
from django.utils import timezone

from approvals.models import AuditEntry
from dashboard import tokens
from dashboard.models import ApiToken, User
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]


@pytest.fixture
def user() -> User:
    return factories.user()


def made(user: User, **fields: object) -> tuple[ApiToken, str]:
    given = {"name": "ci", "user": user, "scopes": ["runs:read"], "actor": "system", "origin": "test", **fields}
    return tokens.create(**given)  # type: ignore[arg-type]


def test_a_token_is_long_plain_and_kept_only_as_a_hash(user: User) -> None:
    row, token = made(user)
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", token)
    assert token.startswith(row.prefix)
    everything = serializers.serialize("json", [*ApiToken.objects.all(), *AuditEntry.objects.all()])
    assert token not in everything
    assert token[len(row.prefix) :] not in everything


def test_two_tokens_differ(user: User) -> None:
    assert made(user)[1] != made(user)[1]


def test_a_token_is_found_and_a_wrong_one_is_not(user: User) -> None:
    row, token = made(user)
    assert tokens.find(token) == row
    for wrong in ("", token[:-1], token + "x", token.upper(), "ü"):
        assert tokens.find(wrong) is None


def test_revoking_works_at_once_and_once(user: User) -> None:
    row, token = made(user)
    assert tokens.revoke(row, actor="ada", origin="test")
    assert tokens.find(token) is None
    assert not tokens.revoke(row, actor="ada", origin="test")
    assert list(AuditEntry.objects.values_list("action", flat=True)) == ["token.created", "token.revoked"]


def test_a_token_ends_at_its_time(user: User) -> None:
    row, token = made(user, expires_at=timezone.now() + timedelta(hours=1))
    assert tokens.find(token) == row
    with time_machine.travel(timezone.now() + timedelta(hours=1, seconds=1), tick=False):
        assert tokens.find(token) is None


def test_a_token_of_a_disabled_user_is_worth_nothing(user: User) -> None:
    _, token = made(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert tokens.find(token) is None


def test_the_last_use_is_written_once_a_minute(user: User) -> None:
    row, token = made(user)
    start = timezone.now().replace(microsecond=0)
    seen = []
    for after_s in (0, 30, 59, 60, 61):
        with time_machine.travel(start + timedelta(seconds=after_s), tick=False):
            assert tokens.find(token)
            row.refresh_from_db()
            assert row.last_used_at
            seen.append((row.last_used_at - start).total_seconds())
    assert seen == [0, 0, 0, 60, 60]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"scopes": []}, "scope"),
        ({"scopes": ["runs:read", "runs:delete"]}, "scope"),
    ],
)
def test_a_token_that_cannot_be_made_names_the_field(user: User, fields: dict[str, object], field: str) -> None:
    with pytest.raises(tokens.TokenRefused) as refused:
        made(user, **fields)
    assert refused.value.field == field
    assert not ApiToken.objects.exists()


def test_no_token_for_somebody_who_may_not_sign_in() -> None:
    with pytest.raises(tokens.TokenRefused, match="not active"):
        made(factories.user(is_active=False))
