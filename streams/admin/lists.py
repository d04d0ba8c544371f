"""Lists of very many rows: counted only as far as anybody pages, dated without reading them all, searched by key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:  # the stubs' class is generic, Django's own is not
    Pages = Paginator[Any]
else:
    Pages = Paginator

COUNTED = 10_000  # rows that can be paged through; who looks for older ones narrows the list
HASH = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


class Counted(Pages):
    """Pages of the keys of the first rows; a table of millions is never counted."""

    @cached_property
    def _found(self) -> int:
        keys: Any = self.object_list
        if isinstance(keys, list):
            return len(keys)
        found: int = keys.order_by()[: COUNTED + 1].count()
        return found

    @cached_property
    def count(self) -> int:
        """How many rows can be paged through."""
        return min(self._found, COUNTED)

    @property
    def beyond(self) -> bool:
        """Whether there are more rows than that."""
        return self._found > COUNTED


@dataclass(frozen=True, slots=True)
class Step:
    """A link of the calendar above a list; without an address it is where the list stands."""

    title: str
    url: str = ""


class HistoryList(ChangeList):
    """A list that reads heavy texts only where it shows them, and asks for what a page needs only once for all rows."""

    def apply_select_related(self, qs: "QuerySet[Any]") -> "QuerySet[Any]":
        """Not here: rows are found and put in order by their keys alone, and read once the page is known."""
        return qs

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows, with what their columns need.

        A list that is narrowed is read once: where a filter has no index, to count first would read the table twice.
        """
        owner: Any = self.model_admin
        keys: Any = self.queryset.values_list("pk", flat=True)
        narrowed = list(keys[: COUNTED + 1]) if self.queryset.query.where else keys
        self.paginator = Counted(narrowed, self.list_per_page)
        self.result_count = self.paginator.count
        self.multi_page = self.result_count > self.list_per_page
        self.full_result_count, self.show_full_result_count, self.can_show_all = None, False, False
        self.show_admin_actions = True
        try:
            page = list(self.paginator.page(self.page_num).object_list)
        except InvalidPage as exc:
            raise IncorrectLookupParameters from exc
        rows = self.root_queryset.select_related(*(owner.list_select_related or ())).defer(*owner.heavy)
        found = rows.in_bulk(page)
        self.result_list = [found[key] for key in page if key in found]
        owner.attach(self.result_list)

    @property
    def calendar(self) -> tuple[Step | None, list[Step]]:
        """The way back and the years, months or days to choose from, between the first row and the last."""
        ends = self._ends if self.date_hierarchy else None
        if ends is None:
            return None, []
        chosen = self._chosen
        if not chosen and ends[0].year == ends[1].year:
            chosen = [ends[0].year]
        back = Step("All dates", self._at([])) if self._chosen else None
        if len(self._chosen) > 1:
            back = Step(_named(self._chosen[:-1]), self._at(self._chosen[:-1]))
        if len(chosen) == 3:
            return back, [Step(_named(chosen))]
        return back, [Step(_named([*chosen, one]), self._at([*chosen, one])) for one in _between(chosen, *ends)]

    @property
    def _chosen(self) -> list[int]:
        made: list[int] = []
        for part in ("year", "month", "day"):
            text = str(self.params.get(f"{self.date_hierarchy}__{part}", ""))
            if not (text.isascii() and text.isdigit()):
                break
            made.append(int(text))
        return made

    @cached_property
    def _ends(self) -> tuple[date, date] | None:
        name = str(self.date_hierarchy)
        by = getattr(self.model_admin, "dated_by", "") or name  # a key that grows with time, where there is one
        rows = self.model._default_manager.all()
        first, last = (rows.order_by(way).values_list(name, flat=True).first() for way in (by, f"-{by}"))
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return None
        return first.date(), last.date()

    def _at(self, chosen: Sequence[int]) -> str:
        name = f"{self.date_hierarchy}__"
        parts = dict(zip((f"{name}year", f"{name}month", f"{name}day"), chosen, strict=False))
        return self.get_query_string(parts, [name])


MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _named(chosen: Sequence[int]) -> str:
    match list(chosen):
        case [year]:
            return str(year)
        case [year, month]:
            return f"{MONTHS[(month - 1) % 12]} {year}"
        case [_, month, day]:
            return f"{day} {MONTHS[(month - 1) % 12]}"
    return ""


def _between(chosen: Sequence[int], first: date, last: date) -> list[int]:
    if not chosen:
        return list(range(first.year, last.year + 1))
    try:
        at = date(chosen[0], chosen[1] if len(chosen) > 1 else 1, 1)
    except ValueError:
        return []
    if len(chosen) == 1:
        months = [at.replace(month=one) for one in range(1, 13)]
        return [one.month for one in months if first.replace(day=1) <= one <= last]
    days = [date.fromordinal(at.toordinal() + one) for one in range(31)]
    return [one.day for one in days if one.month == at.month and first <= one <= last]


def by_key(rows: "QuerySet[Any]", term: str, *, ids: Sequence[str], hashes: Sequence[str]) -> "QuerySet[Any] | None":
    """Rows by an id of theirs, else by the beginning of a hash; None if the term is neither."""
    term = term.strip()
    try:
        key = UUID(term)
    except ValueError:
        pass
    else:
        for name in ids:  # one after the other: each has an index, all at once have none
            if (found := rows.filter(**{name: key})).exists():
                return found
    if hashes and HASH.fullmatch(term.lower()):
        begins = Q(*(beginning(name, term) for name in hashes), _connector=Q.OR)
        if (found := rows.filter(begins)).exists():
            return found
    return None


def beginning(name: str, term: str) -> Q:
    """Hashes that begin so: between it and what sorts behind every hexadecimal digit, which is quicker than LIKE."""
    begin = term.strip().lower()
    return Q(**{f"{name}__gte": begin, f"{name}__lt": f"{begin}g"})
