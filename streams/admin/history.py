"""Rows in the admin: their lists, their pages with what hangs on them, what can be done; history is only read."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME as TICKED
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from streams import inert
from streams.admin import acts
from streams.admin.acts import Act
from streams.admin.columns import Column, address, plain
from streams.admin.lists import HistoryList, by_key
from streams.admin.tables import Table, related

if TYPE_CHECKING:  # the stubs' class is generic, Django's own is not
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


class Named:
    """What the admin writes into titles and breadcrumbs instead of the row: nothing that others wrote."""

    def __init__(self, row: Model, name: str) -> None:
        self.pk, self.name = row.pk, name

    def __str__(self) -> str:
        return self.name


class RecordAdmin(Base):
    """A list that stays quick, and a page with tables and acts; what may be changed is for others to say."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the table
    list_per_page = 50
    list_max_show_all = 0
    change_form_template = "admin/record.html"
    change_list_template = "admin/records.html"
    list_select_related: ClassVar[Any] = ()
    heavy: tuple[str, ...] = ()  # texts that the list does not read
    dated_by = ""  # a key that grows with the date, where the date itself has no index
    search_ids: tuple[str, ...] = ()
    search_hashes: tuple[str, ...] = ()
    acts: tuple[Act, ...] = ()
    by_name = False  # its name is the operator's own; else a row goes by its key
    exact = ""  # the field whose text can be had byte for byte, as it was hashed
    target = ""  # what the audit chain calls such a row

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[HistoryList]:
        """Ours."""
        return HistoryList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Under the name of what it lists."""
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> Any:
        """Times with their seconds, yes and no in words."""
        return [self._column(name) for name in super().get_list_display(request)]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        """The same columns."""
        links = self.list_display_links
        return (
            [self._column(name) for name in links] if links else super().get_list_display_links(request, list_display)
        )

    def _column(self, name: Any) -> Any:
        if not isinstance(name, str):
            return name
        if name not in self._columns:
            self._columns[name] = plain(self.model, name)
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, Any]:
        return {}

    def attach(self, rows: Sequence[Any]) -> None:
        """What the list's columns need of these rows, in a fixed number of queries; kept on the rows."""

    def name(self, row: Any) -> str:
        """What its titles call a row."""
        return inert.one_line(str(row), 80) if self.by_name else str(row.pk)

    def tables(self, request: HttpRequest, row: Any) -> list[Table]:
        """What hangs on a row, on its page."""
        return []

    def links(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """Addresses and words beside the title of a row's page."""
        where = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        return [(reverse(f"{where}_exact", args=[row.pk]), "Download the exact text")] if self.exact else []

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        """By id or the beginning of a hash where the words are one; else as Django does."""
        found = by_key(queryset, search_term, ids=self.search_ids, hashes=self.search_hashes)
        if found is not None:
            return found, False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description="select")
    def action_checkbox(self, obj: Any) -> SafeString:
        """A row's tick box, named by its inert text."""
        said = f"Select {inert.one_line(str(obj), 80)}"
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">', TICKED, obj.pk, said
        )

    # -- acts

    def get_urls(self) -> list[Any]:
        """Two more addresses a row: what is done to it, and its exact text."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        act, exact = self.admin_site.admin_view(self.act_view), self.admin_site.admin_view(self.exact_view)
        return [
            path("<path:object_id>/act/<slug:act>/", act, name=f"{name}_act"),
            path("<path:object_id>/exact/", exact, name=f"{name}_exact"),
            *super().get_urls(),
        ]

    def exact_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A text of others as a file, never as a page; its SHA-256 is the one that stands beside it."""
        row = self.get_object(request, unquote(object_id)) if self.exact else None
        if row is None:
            raise Http404("no such text")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        answer = HttpResponse(getattr(row, self.exact).encode(), content_type="text/plain; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="{self.opts.model_name}-{row.pk}.txt"'
        return answer

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """What was done to it, as the audit chain has it."""
        if not self.target:
            return super().history_view(request, object_id, extra_context)
        chosen = urlencode({"target": f"{self.target}:{unquote(object_id)}"})
        return HttpResponseRedirect(f"{reverse('admin:approvals_auditentry_changelist')}?{chosen}")

    def get_actions(self, request: HttpRequest) -> Any:
        """What this person may do to several rows; nothing is deleted here."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        for act in self.acts:
            if act.allowed(request) and not act.alone:
                found[act.name] = (_action(act), act.name, act.label)
        return found

    def act_view(self, request: HttpRequest, object_id: str, act: str) -> HttpResponse:
        """Ask once more, then do it."""
        chosen = next((one for one in self.acts if one.name == act), None)
        row = self.get_object(request, unquote(object_id))
        if chosen is None or row is None:
            raise Http404("no such row, or nothing of that name can be done to it")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return acts.ask(request, chosen, [row], context=self._around(request, row), back=address(row))

    def act_list(self, request: HttpRequest, act: Act, rows: "QuerySet[Any]") -> HttpResponse:
        """The same for rows that were ticked in the list."""
        found = list(rows[: acts.ROWS_AT_ONCE + 1])
        return acts.ask(request, act, found, context=self._around(request), back=request.get_full_path(), listed=True)

    def _around(self, request: HttpRequest, row: Any = None) -> dict[str, Any]:
        where = f"{self.opts.app_label}_{self.opts.model_name}"
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "list_url": reverse(f"admin:{where}_changelist"),
            "row_url": address(row) if row is not None else "",
            "row_name": self.name(row) if row is not None else "",
        }

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """With what hangs on the row; what an agent wrote stays out of titles and breadcrumbs."""
        row = context.get("original")
        if row is not None:
            where = f"admin:{self.opts.app_label}_{self.opts.model_name}_act"
            context |= {
                "original": Named(row, self.name(row)),
                "title": capfirst(str(self.opts.verbose_name)),
                "subtitle": self.name(row),
                "tables": [
                    one for one in self.tables(request, row) if not one.needs or request.user.has_perm(one.needs)
                ],
                "links": self.links(request, row),
                "audited": bool(self.target) and request.user.has_perm("approvals.view_auditentry"),
                "buttons": [
                    (reverse(where, args=[row.pk, act.name]), act)
                    for act in self.acts
                    if act.allowed(request) and not act.refusal(row)
                ],
            }
        return super().render_change_form(request, context, *args, **kwargs)


def _action(act: Act) -> Any:
    def action(shown: RecordAdmin, request: HttpRequest, rows: "QuerySet[Any]") -> HttpResponse:
        return shown.act_list(request, act, rows)

    action.__name__ = act.name
    return action


class HistoryAdmin(RecordAdmin):
    """Rows that nobody adds, changes or deletes by hand; those with permission to view read them."""

    shown: tuple[str | Column, ...] = ()  # the page of one row, in this order

    def has_add_permission(self, request: HttpRequest) -> bool:
        """History comes from what happens."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History stays."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only retention deletes."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Everything, and the links to what hangs on the row."""
        return self.get_fields(request, obj)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The fields in their order, then the links."""
        shown = [self._column(name) for name in self.shown]
        return [*shown, related] if self.model._meta.related_objects else shown
