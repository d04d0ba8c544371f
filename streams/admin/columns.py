"""Columns and lines of the admin: text of others on one line or in a frame, links to rows, lengths of time."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db.models import BooleanField, DateTimeField, Model
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from streams import inert

NOTHING = "-"
SHOWN_CHARS = 64 * 1024  # of one text; the rest stays in the database and can be downloaded
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
Column = Callable[[Any], Any]


def made(read: Column, label: str, *, order: str = "", name: str = "") -> Column:
    """A column under a label, sorted by a field if one is named."""

    @admin.display(description=label, ordering=order or None)
    def column(row: Any) -> Any:
        return read(row)

    column.__name__ = name or order or label.replace(" ", "_")
    return column


def short(field: str, label: str = "", limit: int = 80) -> Column:
    """A column or line with a text of others, on one line."""

    def read(row: Any) -> str:
        text = getattr(row, field)
        return format_html('<span class="inert">{}</span>', inert.one_line(text, limit)) if text else NOTHING

    return made(read, label or field.replace("_", " "), order=field)


def block(field: str, label: str = "") -> Column:
    """A line with a long text of others, in a frame of its own."""

    def read(row: Any) -> str:
        text = getattr(row, field)
        if not text:
            return NOTHING
        more = f"\n… {len(text) - SHOWN_CHARS:,} more characters" if len(text) > SHOWN_CHARS else ""
        return format_html(
            '<pre class="inert" tabindex="0">{}</pre>{}', inert.exposed(text[:SHOWN_CHARS], kept="\n\t"), more
        )

    return made(read, label or field.replace("_", " "), name=field)


def digest(field: str, label: str = "") -> Column:
    """A hash: its beginning in a list, where the whole one would push the rest aside."""

    def read(row: Any) -> str:
        text = getattr(row, field)
        return format_html('<code title="{}">{}…</code>', text, text[:12]) if text else NOTHING

    return made(read, label or field.replace("_", " "), order=field)


def address(row: Model) -> str:
    """Where the admin shows a row."""
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])


def to(row: Model | None, text: str) -> SafeString | str:
    """A link to a row; the text is made inert."""
    if row is None:
        return NOTHING
    return format_html('<a href="{}"><span class="inert">{}</span></a>', address(row), inert.one_line(text, 60))


def link(field: str, label: str = "", text: Callable[[Any], str] = str) -> Column:
    """A link to the row that a foreign key names; `text` is made inert."""

    def read(row: Any) -> Any:
        target = getattr(row, field)
        return NOTHING if target is None else to(target, text(target))

    return made(read, label or field.replace("_", " "), order=field)


def toned(word: str, tone: str = "") -> SafeString:
    """A state's word in its look; the word alone says it as well."""
    return format_html('<span class="st {}">{}</span>', tone, word)


def span(length: timedelta) -> str:
    """4 min 12 s, 3 h 5 min: the two largest units; nothing below zero."""
    seconds = max(int(length.total_seconds()), 0)
    for at, (size, unit) in enumerate(UNITS):
        if seconds >= size and at + 1 < len(UNITS):
            small, part = UNITS[at + 1]
            rest = seconds % size // small
            return f"{seconds // size} {unit} {rest} {part}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s"


def moment(at: datetime) -> SafeString:
    """A time with seconds, UTC."""
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


def at(field: str, label: str = "") -> Column:
    """A time with seconds, UTC."""

    def read(row: Any) -> Any:
        value = getattr(row, field)
        return moment(value) if value else NOTHING

    return made(read, label or field.replace("_", " "), order=field)


def whether(field: str, label: str = "") -> Column:
    """Yes or no in words: neither is good or bad by itself."""
    return made(lambda row: "yes" if getattr(row, field) else "no", label or field.replace("_", " "), order=field)


def plain(model: type[Model], field: "str | Column") -> "str | Column":
    """A field as its column; whatever Django shows well stays as it is."""
    if not isinstance(field, str):
        return field
    try:
        kind = model._meta.get_field(field)
    except FieldDoesNotExist:
        return field
    label = str(getattr(kind, "verbose_name", field))
    if isinstance(kind, DateTimeField):
        return at(field, label)
    return whether(field, label) if isinstance(kind, BooleanField) else field


def ago(field: str, label: str = "") -> Column:
    """How long ago; the exact time is its title."""

    def read(row: Any) -> Any:
        at = getattr(row, field)
        return lasted(at, timezone.now()) if at else NOTHING

    return made(read, label or field.replace("_", " "), order=field)


def lasted(start: datetime, end: datetime) -> SafeString:
    """A length of time, with the moment it began as its title."""
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        start.isoformat(),
        f"{start:%Y-%m-%d %H:%M:%S}",
        span(end - start),
    )
