"""What hangs on a row, as small tables on its page, and links to the lists of all that points to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.db.models import Model, OneToOneRel, QuerySet
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from streams.admin.columns import NOTHING, Column, moment

ROWS = 20
NAMES = {"carries": "deliveries it answers", "notices": "webhooks about it", "reoffered_as": "offered again as"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that belong to the one that is shown; `more` is the list of all of them."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    more: str = ""
    cut: bool = False  # there are more than the rows here
    empty: str = "None."
    needs: str = ""  # a permission beyond that to see the row


def table(
    heading: str,
    found: "QuerySet[Any] | Iterable[Any]",
    columns: Sequence[Column],
    *,
    most: int = ROWS,
    more: str = "",
    empty: str = "None.",
    needs: str = "",
) -> Table:
    """The first rows of what was found, in these columns."""
    rows = list(found[: most + 1] if isinstance(found, QuerySet) else found)
    labels = [str(getattr(column, "short_description", column.__name__)) for column in columns]
    cells = [[cell(column(row)) for column in columns] for row in rows[:most]]
    return Table(heading, labels, cells, more=more, cut=len(rows) > most, empty=empty, needs=needs)


def cell(value: Any) -> Any:
    """A value as the lists show it; text was made inert by its column."""
    return value if isinstance(value, SafeString) else display_for_value(value, NOTHING)


def field(name: str, label: str = "") -> Column:
    """A column with a field's own value, a choice in words."""

    @admin.display(description=label or name.replace("_", " "))
    def column(row: Any) -> Any:
        in_words = getattr(row, f"get_{name}_display", None)
        value = in_words() if in_words else getattr(row, name)
        return moment(value) if isinstance(value, datetime) else value

    column.__name__ = name
    return column


def listed(model: type[Model], **narrowed: Any) -> str:
    """The address of a list, narrowed by lookups."""
    meta = model._meta
    return f"{reverse(f'admin:{meta.app_label}_{meta.model_name}_changelist')}?{urlencode(narrowed)}"


@admin.display(description="see also")
def related(row: Model) -> SafeString:
    """Links to the lists of rows that point here."""
    links: list[tuple[str, str]] = []
    for relation in row._meta.related_objects:
        model = relation.related_model
        if not isinstance(model, type) or not admin.site.is_registered(model) or not relation.field.editable:
            continue
        meta = model._meta
        key = f"{relation.field.name}__{relation.field.target_field.name}__exact"
        label = relation.get_accessor_name() or meta.verbose_name_plural
        if isinstance(relation, OneToOneRel) and not model._default_manager.filter(**{key: row.pk}).exists():
            continue
        links.append((listed(model, **{key: row.pk}), str(label)))
    named = ((url, NAMES.get(label, label.replace("_", " "))) for url, label in links)
    return format_html_join(" · ", '<a href="{}">{}</a>', named)
