"""Secrets at rest: sealed with a field key that the database does not hold, bound to the row they belong to."""

import hashlib
import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from streams.errors import SecretError

CHECK_TEXT = b"countersign field key"


def fingerprint(key: str) -> str:
    """A key's public name: 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _box() -> MultiFernet:
    if not settings.FIELD_KEYS:
        raise SecretError("COUNTERSIGN_FIELD_KEYS: no field key is configured; run `manage.py up` once or set it")
    try:
        return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])
    except ValueError as exc:
        raise SecretError(f"COUNTERSIGN_FIELD_KEYS: a key is not 32 url-safe base64 bytes: {exc}") from exc


def seal(secret: str, *, owner: str) -> str:
    """Encrypt a secret for one owner (`provider:<uuid>`); a copy in another row does not open."""
    return _box().encrypt(json.dumps([owner, secret]).encode()).decode()


def unseal(sealed: str, *, owner: str) -> str:
    """Open what seal() made. Raises SecretError for a wrong key, a changed text or another row's secret."""
    try:
        sealed_for, secret = json.loads(_box().decrypt(sealed.encode()))
    except InvalidToken as exc:
        raise SecretError(f"{owner}: no configured field key opens its secret") from exc
    if sealed_for != owner:
        raise SecretError(f"{owner}: its secret was sealed for {sealed_for}")
    return str(secret)


def reseal(sealed: str) -> str:
    """The same secret under the newest key."""
    return _box().rotate(sealed.encode()).decode()


def check_value(key: str) -> str:
    """What the database keeps to recognise a key."""
    return Fernet(key).encrypt(CHECK_TEXT).decode()


def opens(key: str, check: str) -> bool:
    """Whether this key made that check value."""
    try:
        return Fernet(key).decrypt(check.encode()) == CHECK_TEXT
    except (InvalidToken, ValueError):
        return False


def check_keys() -> None:
    """Register new field keys and refuse to go on while one that the database knows is missing or wrong.

    Raises SecretError naming the key by its fingerprint.
    """
    from streams.models import FieldKey  # the model needs this module

    _box()
    given = {fingerprint(key): key for key in settings.FIELD_KEYS}
    for known in FieldKey.objects.all():
        key = given.pop(known.fingerprint, None)
        if key is None:
            raise SecretError(
                f"COUNTERSIGN_FIELD_KEYS: key {known.fingerprint} is missing; the database was sealed with it"
            )
        if not opens(key, known.check_value):
            raise SecretError(f"COUNTERSIGN_FIELD_KEYS: key {known.fingerprint} does not open its check value")
    for print_, key in given.items():
        FieldKey.objects.get_or_create(fingerprint=print_, defaults={"check_value": check_value(key)})
