"""Pages of a list by the last row's key: what is inserted meanwhile neither repeats nor hides a row."""

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from dashboard.api.errors import Invalid

PAGE_MAX_CHARS = 4 * 1024 * 1024  # of provider text in one answer; a single row may be longer


def fitting(sizes: Iterable[int]) -> int:
    """How many rows go on one page: as many as the limit of text allows, but one at least."""
    left, count = PAGE_MAX_CHARS, 0
    for size in sizes:
        left -= size
        if left < 0 and count:
            break
        count += 1
    return count


def cursor(at: datetime, row_id: UUID) -> str:
    """Where a page ended, for the next one."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[datetime, UUID]:
    """Read what cursor() made. Raises Invalid."""
    try:
        at, row_id = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode().split(" ")
        when = datetime.fromisoformat(at)
        if when.tzinfo is None:
            raise ValueError("no time zone")
        return when, UUID(row_id)
    except (binascii.Error, ValueError, OverflowError) as exc:
        raise Invalid({"cursor": "it is not one that a `next` gave"}) from exc


def next_url(request: HttpRequest, **changed: str | int) -> str:
    """The absolute URL of the next page: this one's, with some parameters changed."""
    query = request.GET.copy()
    for name, value in changed.items():
        query[name] = str(value)
    return f"{_our_origin(request)}{request.path}?{query.urlencode()}"


def refuse_unknown(request: HttpRequest, known: Iterable[str]) -> None:
    """A misspelt filter must not answer as if it were none. Raises Invalid."""
    if unknown := set(request.GET) - set(known):
        raise Invalid(dict.fromkeys(sorted(unknown), "unknown parameter"))


def _our_origin(request: HttpRequest) -> str:
    """A token follows this address: behind a proxy that ends TLS, the configured origin and not what we see."""
    host = request.get_host()
    known = (origin for origin in settings.ORIGINS if urlsplit(origin).netloc == host)
    return next(known, f"{request.scheme}://{host}")
