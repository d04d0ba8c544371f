"""The list of runs, starting one, and watching one that somebody else started."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from dashboard import access, panels, run_list
from dashboard.desk import kinds
from dashboard.desk.kinds import Kind
from dashboard.desk.pages import denied
from dashboard.desk.start_form import StartForm, WatchForm
from dashboard.run_list import RunFilter
from dashboard.views import PageRequest, page
from streams import providers as adapters
from streams import runs
from streams.models import Provider
from streams.runs import StartRefused


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider that a run can be started at."""

    row: Provider
    kind: Kind
    vendor: str


@never_cache
@require_GET
def listing(request: PageRequest) -> HttpResponse:
    """Everybody's runs."""
    found = run_list.page(panels.sight(request.user), RunFilter.read(request.GET), by=request.user)
    context = {
        "list": found,
        "groups": [(name, text) for name, text, _ in run_list.GROUPS],
        "statuses": run_list.SINGLE,
        "may_start": access.may_start(request.user),
        "here": "runs",
    }
    return page(request, "dashboard/runs.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def start(request: PageRequest) -> HttpResponse:
    """First the provider, then what it wants to know. The second press on Start leads to the run of the first."""
    if not access.may_start(request.user):
        return denied(request)
    choices = _choices()
    name = request.GET.get("provider", "")
    chosen = next((one for one in choices if one.row.name == name), None)
    if chosen is None and len(choices) == 1 and not name:
        chosen = choices[0]
    if chosen is None:
        context = {"choices": choices, "unknown": bool(name), "here": "runs"}
        return page(request, "dashboard/run_start.html", context, status=404 if name else 200)
    form = StartForm(chosen.kind, request.POST if request.method == "POST" else None)
    if request.method == "POST" and (run_id := _started(form, chosen.row, request)):
        return HttpResponseRedirect(reverse("run", args=[run_id]))
    context = {"choices": choices, "chosen": chosen, "form": form, "here": "runs"}
    return page(request, "dashboard/run_start.html", context, status=422 if form.is_bound else 200)


def _started(form: StartForm, provider: Provider, request: PageRequest) -> UUID | None:
    if not form.is_valid():
        return None
    said = form.cleaned_data
    try:
        made = runs.start(provider, **form.start(), title=said["title"], by=request.user, key=said["key"])
    except StartRefused as wrong:
        form.refused(wrong)
        return None
    return made.pk


def _choices() -> Sequence[Choice]:
    return [
        Choice(row, kinds.kind(row.kind), adapters.REGISTRY[row.kind].label)
        for row in Provider.objects.all()
        if row.kind in adapters.REGISTRY
    ]


@never_cache
@require_http_methods(["GET", "POST"])
def watch(request: PageRequest) -> HttpResponse:
    """Follow a run by its provider's id; one that is followed already is shown."""
    if not access.may_start(request.user):
        return denied(request)
    rows = {one.row.name: one.row for one in _choices() if adapters.REGISTRY[one.row.kind].capabilities.watch}
    form = WatchForm(list(rows), request.POST if request.method == "POST" else None, request.GET.get("provider", ""))
    if request.method == "POST" and form.is_valid():
        try:
            run = runs.watch(rows[form.cleaned_data["provider"]], form.cleaned_data["external_id"], by=request.user)
        except StartRefused as wrong:
            form.refuse(wrong.problems)
        else:
            return HttpResponseRedirect(reverse("run", args=[run.pk]))
    context = {"form": form, "names": list(rows), "here": "runs"}
    return page(request, "dashboard/run_watch.html", context, status=422 if form.is_bound else 200)
