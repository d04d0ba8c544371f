"""Secrets at rest: bound to their row, unreadable without the key, and a lost key stops the start by its name."""

import pytest
from cryptography.fernet import Fernet

from streams import secrets
from streams.errors import SecretError
from streams.models import FieldKey, Provider
from tests import factories

CANARY = "canary-key-7731"


@pytest.fixture
def keys(settings) -> list[str]:  # type: ignore[no-untyped-def]
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    made: list[str] = settings.FIELD_KEYS
    return made


@pytest.mark.django_db
def test_a_providers_secret_is_not_in_its_row(keys: list[str]) -> None:
    provider = factories.provider()
    provider.set_secret(CANARY)
    provider.save()
    stored = Provider.objects.get(pk=provider.pk)
    assert CANARY not in str(vars(stored))
    assert stored.secret == CANARY


@pytest.mark.django_db
def test_a_secret_copied_to_another_row_does_not_open(keys: list[str]) -> None:
    one, other = factories.provider(), factories.provider()
    one.set_secret(CANARY)
    other.secret_sealed = one.secret_sealed
    with pytest.raises(SecretError, match="was sealed for") as refused:
        assert other.secret
    assert CANARY not in str(refused.value)


def test_a_changed_text_does_not_open(keys: list[str]) -> None:
    sealed = secrets.seal(CANARY, owner="provider:1")
    with pytest.raises(SecretError, match="no configured field key"):
        secrets.unseal(sealed[:-4] + "AAA=", owner="provider:1")


def test_a_rotated_secret_opens_with_the_new_key_alone(keys: list[str], settings) -> None:  # type: ignore[no-untyped-def]
    sealed = secrets.seal(CANARY, owner="provider:1")
    new = Fernet.generate_key().decode()
    settings.FIELD_KEYS = [new, *keys]
    sealed = secrets.reseal(sealed)
    settings.FIELD_KEYS = [new]
    assert secrets.unseal(sealed, owner="provider:1") == CANARY


@pytest.mark.parametrize(
    ("given", "said"), [([], "no field key is configured"), (["short"], "32 url-safe base64 bytes")]
)
def test_a_missing_or_broken_key_is_named(settings, given: list[str], said: str) -> None:  # type: ignore[no-untyped-def]
    settings.FIELD_KEYS = given
    with pytest.raises(SecretError, match=f"COUNTERSIGN_FIELD_KEYS: .*{said}"):
        secrets.seal(CANARY, owner="provider:1")


@pytest.mark.django_db
def test_a_key_that_the_database_knows_must_be_there(keys: list[str], settings) -> None:  # type: ignore[no-untyped-def]
    secrets.check_keys()
    secrets.check_keys()  # the second start finds what the first one wrote
    assert FieldKey.objects.count() == 1
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(SecretError, match=f"key {secrets.fingerprint(keys[0])} is missing"):
        secrets.check_keys()
    assert FieldKey.objects.count() == 1, "a wrong key is never registered in place of the right one"


@pytest.mark.django_db
def test_a_key_that_does_not_open_its_check_value_is_named(keys: list[str]) -> None:
    secrets.check_keys()
    FieldKey.objects.update(check_value=secrets.check_value(Fernet.generate_key().decode()))
    with pytest.raises(SecretError, match=f"key {secrets.fingerprint(keys[0])} does not open"):
        secrets.check_keys()
