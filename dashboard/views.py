"""Inbox, request and run pages with their HTMX posts. Every act works as a plain form too; a GET changes nothing."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.defaults import permission_denied
from django_htmx.middleware import HtmxDetails

from approvals import decisions, lost
from approvals.errors import DecisionRefused, InputChanged, InvalidDecision, NotAllowed, UndoRefused
from approvals.lost import NotAskedAgain
from approvals.models import Decision, RequestStatus, Verdict
from dashboard import access, exhibit, first_use, hidden, missing, panels, rooms, runs, slip, words
from dashboard.forms import REASONS, DecisionForm, EditForm, InboxFilter, ResolveForm
from dashboard.models import User
from dashboard.slip import Slip
from streams import inert, jsontext
from streams.models import Event


class PageRequest(HttpRequest):
    """A request of somebody who is signed in (LoginRequiredMiddleware)."""

    user: User
    htmx: HtmxDetails


def page(request: PageRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """A whole page, with the numbers of its rail."""
    seen = panels.sight(request.user)
    shared = {"counts": panels.counts(seen), "undo_s": settings.UNDO_S}
    return render(request, template, {**shared, **context}, status=status)


def origin(request: HttpRequest) -> str:
    """From where, for the audit entry."""
    return str(request.META.get("REMOTE_ADDR") or "")


def first_errors(form: Form) -> dict[str, str]:
    """What is wrong with each field, in one sentence."""
    return {name: str(says[0]) for name, says in form.errors.items()}


# --- inbox ------------------------------------------------------------------------------------------------------------


@never_cache
@require_GET
def inbox(request: PageRequest) -> HttpResponse:
    chosen = InboxFilter.read(request.GET)
    seen = panels.sight(request.user)
    found = panels.inbox(seen, chosen)
    context: dict[str, Any] = {
        "inbox": found,
        "here": "inbox",
        "providers": found.providers,
        "statuses": [one for one in RequestStatus.choices if one[0] != RequestStatus.PENDING],
        "pane": _pane(request),
        "missing": missing.find(seen),
    }
    if not found.rows:
        context |= {"connected": bool(found.providers), "going": panels.active_runs(seen)}
        context["first"] = first_use.of(request.user)
    return page(request, "dashboard/inbox.html", context)


def _pane(request: PageRequest) -> Slip | None:
    """The slip that stands open beside the queue, if the URL names one."""
    try:
        made = slip.surround(slip.load(request.user, UUID(request.GET.get("open", ""))))
    except (ValueError, Http404):
        return None
    made.pane = True
    return made


@never_cache
@require_GET
def live(request: PageRequest) -> HttpResponse:
    """What a socket would have brought, for a page whose socket cannot open."""
    from dashboard.hub import beat

    parts = [beat(), rooms.RailRoom().everything(0)]
    if run_id := _uuid(request.GET.get("run", "")):
        access.run_or_404(request.user, run_id)
        parts.append(rooms.RunRoom.of(run_id).everything(_seq(request.GET.get("after", "")) or 0))
    elif request_id := _uuid(request.GET.get("request", "")):
        access.request_or_404(request.user, request_id)
        parts.append(rooms.RequestRoom.of(request_id).everything(0))
    if request.GET.get("queue"):
        parts.append(rooms.InboxRoom(filter=InboxFilter.read(request.GET)).everything(0))
    return HttpResponse("".join(parts))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _seq(text: str) -> int | None:
    """An event's number; none has 19 digits, and int() refuses thousands of them."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


# --- one request ------------------------------------------------------------------------------------------------------


@never_cache
@require_GET
def request_page(request: PageRequest, request_id: UUID) -> HttpResponse:
    made = slip.load(request.user, request_id, everything=request.GET.get("parts") == "all")
    made.pane = "pane" in request.GET
    if request.htmx.target == "sign":
        return _sign(request, made)
    if request.GET.get("edit") and made.pending and made.offers_edit:
        made.edit = slip.proposed(made)
        if request.htmx.target == "edit":
            return render(request, "dashboard/_edit.html", {"slip": made})
    return _slip(request, slip.surround(made))


def _slip(request: PageRequest, made: Slip, *, status: int = 200) -> HttpResponse:
    context = {"slip": made, "here": "inbox", "undo_s": settings.UNDO_S}
    if made.pane and request.htmx:
        return render(request, "dashboard/_pane.html", context, status=status)
    return page(request, "dashboard/request.html", context, status=status)


def _sign(request: PageRequest, made: Slip, *, status: int = 200, done: Decision | None = None) -> HttpResponse:
    """The stub alone, with whatever else changes with it."""
    context = {"slip": made, "undo_s": settings.UNDO_S, "done": done, "swapped": True}
    return render(request, "dashboard/_signed.html", context, status=status)


@never_cache
@require_GET
def exact(request: PageRequest, request_id: UUID) -> HttpResponse:
    """The arguments byte for byte, numbered."""
    made = slip.load(request.user, request_id)
    text = made.asked.arguments
    context = {"slip": made, "lines": exhibit.exact(text), "dense": hidden.dense(text), "here": "inbox"}
    if request.htmx:
        return render(request, "dashboard/_exact.html", context)
    return page(request, "dashboard/exact.html", context)


@never_cache
@require_POST
def decide(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Give a verdict on the arguments that were shown."""
    access.request_or_404(request.user, request_id)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        return _refused(request, request_id, form, 422, errors=first_errors(form))
    said = form.cleaned_data
    made = slip.load(request.user, request_id, everything=said["parts"] == "all")
    if said["verdict"] == Verdict.APPROVE and made.approve_off and not made.asked.problem and made.asked.answerable:
        return _refused(request, request_id, form, 422, errors={"verdict": made.approve_off})
    try:
        done = decisions.decide(
            request_id,
            verdict=said["verdict"],
            by=request.user,
            seen_sha256=said["input_sha256"],
            reason=form.said(),
            edited=_changed(made, said["edited"]) if said["verdict"] == Verdict.APPROVE else "",
            answer=said["answer"] if said["verdict"] == Verdict.APPROVE or made.asked.no_reject else "",
            undo_s=settings.UNDO_S,
            via="page",
            origin=origin(request),
        )
    except InvalidDecision as wrong:
        return _refused(request, request_id, form, 422, errors={wrong.field: wrong.detail})
    except NotAllowed as wrong:
        return _refused(request, request_id, form, 403, conflict=f"{wrong.detail[:1].upper()}{wrong.detail[1:]}.")
    except DecisionRefused as wrong:
        return _refused(request, request_id, form, 409, conflict=_conflict(wrong, request.user))
    return _done(request, request_id, done)


def _changed(made: Slip, edited: str) -> str:
    """An edit that differs; the same arguments in another spelling are no edit."""
    if not edited.strip() or jsontext.canonical(edited) == jsontext.canonical(made.asked.arguments):
        return ""
    return edited


def _conflict(wrong: DecisionRefused, by: User) -> str:
    """What happened instead, and by whom, in words. What was typed is kept."""
    if isinstance(wrong, InputChanged):
        return "The arguments changed after you opened this. Read them again. Nothing you pressed was sent."
    if wrong.decision is not None:
        given = words.verdict(wrong.decision.verdict).text.lower()
        if wrong.decision.by_id == by.pk:
            return f"You have {given} it already, elsewhere. Nothing you pressed was sent."
        return f"{wrong.decision.by.get_username()} was quicker and {given} it. Nothing you pressed was sent."
    return f"Nothing you pressed was sent: {wrong.detail}."


def _apart(reason: str) -> tuple[str, str]:
    """A reason as it was given: what was chosen, and what was typed."""
    because = next((one for one in REASONS if reason == one or reason.startswith(f"{one}. ")), "")
    return because, reason[len(because) :].removeprefix(". ")


def _done(request: PageRequest, request_id: UUID, done: Decision) -> HttpResponse:
    if not request.htmx:
        return HttpResponseRedirect(reverse("request", args=[request_id]))
    made = slip.load(request.user, request_id)
    made.pane = bool(request.POST.get("pane"))
    return _sign(request, made, done=done)


def _refused(
    request: PageRequest,
    request_id: UUID,
    form: DecisionForm,
    status: int,
    *,
    errors: dict[str, str] | None = None,
    conflict: str = "",
) -> HttpResponse:
    """The slip as it is now, with what was typed and why it did not count."""
    made = slip.load(request.user, request_id, everything=form.data.get("parts") == "all")
    made.errors, made.conflict, made.note = errors or {}, conflict, str(form.data.get("reason", ""))[:4_000]
    because = form.data.get("because")
    made.because = because if because in REASONS else ""
    made.answer, made.unsent_edit = str(form.data.get("answer", "")), str(form.data.get("edited", ""))
    made.pane = bool(request.POST.get("pane"))
    if edited := str(form.data.get("edited", "")):
        made.edit = slip.edited(made, edited) if made.pending and made.offers_edit else None
    if request.htmx:
        return _sign(request, made, status=status)
    return _slip(request, slip.surround(made), status=status)


@never_cache
@require_POST
def undo(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Take one's own decision back while nothing has left."""
    access.request_or_404(request.user, request_id)
    try:
        undone = decisions.undo(request_id, by=request.user, via="page", origin=origin(request))
    except UndoRefused as wrong:
        made = slip.load(request.user, request_id)
        made.conflict, made.pane = f"Not undone: {wrong.detail}.", bool(request.POST.get("pane"))
        if request.htmx:
            return _sign(request, made, status=409)
        return _slip(request, slip.surround(made), status=409)
    if not request.htmx:
        return HttpResponseRedirect(reverse("request", args=[request_id]))
    made = slip.load(request.user, request_id)
    made.pane = bool(request.POST.get("pane"))
    made.because, made.note = _apart(undone.reason)  # the slip comes back as it was
    if undone.edited and made.pending:
        made.edit = slip.edited(made, undone.edited)
    return _sign(request, made)


@never_cache
@require_POST
def resolve(request: PageRequest, request_id: UUID) -> HttpResponse:
    """Say what came of an answer that nobody confirmed."""
    access.request_or_404(request.user, request_id)
    form = ResolveForm(request.POST)
    errors = first_errors(form)
    status, conflict = 422, ""
    if form.is_valid():
        try:
            return HttpResponseRedirect(reverse("request", args=[_resolve(request, request_id, form)]))
        except InvalidDecision as wrong:
            errors = {wrong.field: wrong.detail}
        except NotAllowed as wrong:
            status, conflict = 403, f"{wrong.detail[:1].upper()}{wrong.detail[1:]}."
        except DecisionRefused as wrong:
            status, conflict = 409, f"Nothing was changed: {wrong.detail}."
    made = slip.surround(slip.load(request.user, request_id))
    made.errors, made.conflict, made.note = errors, conflict, str(form.data.get("note", ""))[:4_000]
    return _slip(request, made, status=status)


def _resolve(request: PageRequest, request_id: UUID, form: ResolveForm) -> UUID:
    """Write it down; the id of the slip to go on with."""
    note, happened = form.cleaned_data["note"], form.cleaned_data["happened"]
    who: dict[str, Any] = {"by": request.user, "note": note, "via": "page", "origin": origin(request)}
    if happened == "open":
        return decisions.reoffer(request_id, **who).pk
    decisions.resolve_unknown(request_id, happened=happened == "yes", **who)
    return request_id


@never_cache
@require_http_methods(["GET", "POST"])
def edit(request: PageRequest, request_id: UUID) -> HttpResponse:
    """The text area with the complete arguments; posted: what would change. Nothing is decided here."""
    made = slip.load(request.user, request_id, everything=True)
    made.pane = "pane" in request.GET or bool(request.POST.get("pane"))
    if not (made.pending and made.offers_edit):
        raise Http404("this request cannot be edited")
    form = EditForm(request.POST or None)
    status = 200
    if request.method == "POST":
        text = form.cleaned_data["edited"] if form.is_valid() else str(form.data.get("edited", ""))
        made.edit = slip.edited(made, text)
        status = 422 if made.edit.problem else 200
    else:
        made.edit = slip.proposed(made)
    if request.htmx:
        return render(request, "dashboard/_edit.html", {"slip": made, "swapped": True}, status=status)
    return _slip(request, slip.surround(made), status=status)


# --- runs -------------------------------------------------------------------------------------------------------------


@never_cache
@require_GET
def run_page(request: PageRequest, run_id: UUID) -> HttpResponse:
    access.run_or_404(request.user, run_id)
    return _run(request, run_id)


def _run(request: PageRequest, run_id: UUID, *, conflict: str = "", status: int = 200) -> HttpResponse:
    told = runs.panel(panels.sight(request.user), run_id)
    before = _seq(request.GET.get("before", ""))
    made, earlier = runs.window(told.run, before=before)
    context = {
        "panel": told,
        "entries": runs.shown(made.entries, told.by_call),
        "seq": made.seq,
        "earlier": earlier,
        "before": before,
        "may_ask_again": access.may_start(request.user),
        "conflict": conflict,
        "here": "runs",
    }
    return page(request, "dashboard/run.html", context, status=status)


@never_cache
@require_POST
def run_again(request: PageRequest, run_id: UUID) -> HttpResponse:
    """Ask the provider for a run that was lost."""
    access.run_or_404(request.user, run_id)
    if not access.may_start(request.user):
        return permission_denied(request, PermissionDenied())
    try:
        lost.ask_again(run_id, by=request.user, via="page", origin=origin(request))
    except NotAskedAgain as wrong:
        return _run(request, run_id, conflict=f"Nothing was changed: {wrong}.", status=409)
    return HttpResponseRedirect(reverse("run", args=[run_id]))


@never_cache
@require_GET
def event(request: PageRequest, run_id: UUID, seq: int) -> HttpResponse:
    """One stored event, byte for byte."""
    run = access.run_or_404(request.user, run_id)
    found = Event.objects.filter(run=run, seq=seq).first() if seq < 2**63 else None
    if found is None:
        raise Http404("no such event")
    context = {"run": run, "event": found, "kind": inert.one_line(found.kind), "here": "runs"}
    text = found.payload
    return page(request, "dashboard/event.html", context | {"lines": exhibit.exact(text), "dense": hidden.dense(text)})
