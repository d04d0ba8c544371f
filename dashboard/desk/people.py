"""Settings: people, invited by a link that an administrator hands over, put into a group, deactivated."""

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth
from django.db import transaction
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse, reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import access, people
from dashboard.desk.pages import DeskForm, address, confirm, line, need, settings_page, shown_once, staff_only
from dashboard.models import ApiToken, User
from dashboard.people import PersonRefused
from dashboard.views import PageRequest, origin

ADD, CHANGE = "dashboard.add_user", "dashboard.change_user"
SHOWN = 500
ROLES = {
    "Reviewer": "reads everything and decides requests",
    "Operator": "reads everything and starts runs",
    "Auditor": "reads everything",
}


def _groups() -> forms.ChoiceField:
    choices = [(name, f"{name}: {ROLES[name]}" if name in ROLES else name) for name in access.GROUPS]
    return forms.ChoiceField(
        label="They may", choices=choices, widget=forms.RadioSelect,
        error_messages={"required": "Choose what they may do.", "invalid_choice": "Choose one of these."},
    )  # fmt: skip


class InviteForm(DeskForm):
    """Somebody new."""

    username = line(
        "User name", most=150, hint="They sign in with it, and it stands beside what they decide.",
        error_messages={"required": "Without a user name nobody can sign in."},
    )  # fmt: skip
    full_name = line("Full name", required=False, most=150)
    group = _groups()


class GroupForm(DeskForm):
    """Somebody's group."""

    group = _groups()


@never_cache
@require_GET
@staff_only
def listing(request: PageRequest) -> HttpResponse:
    """Everybody, those who may sign in first."""
    return _list(request, InviteForm(initial={"group": "Reviewer"}))


def _list(request: PageRequest, form: InviteForm) -> HttpResponse:
    rows = User.objects.prefetch_related("groups").order_by("-is_active", "username")[: SHOWN + 1]
    context = {
        "people": list(rows)[:SHOWN],
        "more": len(rows) > SHOWN,
        "most": SHOWN,
        "form": form,
        "may_add": request.user.has_perm(ADD),
    }
    status = 422 if form.is_bound else 200
    return settings_page(request, "settings_people.html", context, tab="people", status=status)


@never_cache
@require_POST
@staff_only
def invite(request: PageRequest) -> HttpResponse:
    """Add a person and show the link that sets their password."""
    need(request.user, ADD)
    form = InviteForm(request.POST)
    if form.is_valid():
        try:
            with transaction.atomic():
                person = people.invite(**form.cleaned_data, by=request.user, origin=origin(request))
                parts = people.link(person, by=request.user, origin=origin(request))
            return _link(request, person, parts, f"{person.username} is invited. Hand this link over.")
        except PersonRefused as wrong:
            form.refuse({wrong.field: wrong.why})
    return _list(request, form)


@sensitive_variables("url", "parts")
def _link(request: PageRequest, person: User, parts: tuple[str, str], title: str) -> HttpResponse:
    url = address(request, reverse("password_reset_confirm", args=parts))
    days = settings.PASSWORD_RESET_TIMEOUT // 86_400
    says = (
        f"With it, {person.username} sets a password and can sign in. It works once, for {days} days, and for whoever "
        "has it: hand it over in a way that only they read. Nothing was sent by mail."
    )
    back = reverse("settings-person", args=[person.pk])
    return shown_once(request, tab="people", title=title, says=says, secret=url, back=back)


@never_cache
@require_GET
@staff_only
def page(request: PageRequest, user_id: int) -> HttpResponse:
    """One person."""
    return _page(request, get_object_or_404(User, pk=user_id))


def _page(request: PageRequest, person: User, form: GroupForm | None = None) -> HttpResponse:
    groups = list(person.groups.order_by("name").values_list("name", flat=True))
    own = next((name for name in groups if name in access.GROUPS), "")
    context = {
        "person": person,
        "groups": groups,
        "form": form or GroupForm(initial={"group": own}),
        "tokens": ApiToken.objects.filter(user=person, revoked_at=None).count(),
        "may_change": request.user.has_perm(CHANGE) and people.touchable(person, request.user),
        "beyond": not people.touchable(person, request.user),
        "is_me": person.pk == request.user.pk,
    }
    status = 422 if form else 200
    return settings_page(request, "settings_person.html", context, tab="people", status=status)


@never_cache
@require_POST
@staff_only
def move(request: PageRequest, user_id: int) -> HttpResponse:
    """Another group."""
    need(request.user, CHANGE)
    person = get_object_or_404(User, pk=user_id)
    form = GroupForm(request.POST)
    if not form.is_valid():
        return _page(request, person, form)
    try:
        people.move(person, form.cleaned_data["group"], by=request.user, origin=origin(request))
        messages.success(request, f"{person.username} is in the group {form.cleaned_data['group']} now.")
    except PersonRefused as wrong:
        messages.error(request, f"{person.username} {wrong.why}.")
    return _to(person)


@never_cache
@require_POST
@staff_only
def link(request: PageRequest, user_id: int) -> HttpResponse:
    """A link with which somebody sets a password anew; the present one works until then."""
    need(request.user, CHANGE)
    person = get_object_or_404(User, pk=user_id)
    try:
        parts = people.link(person, by=request.user, origin=origin(request))
        return _link(request, person, parts, f"A new link for {person.username}. Hand it over.")
    except PersonRefused as wrong:
        messages.error(request, f"{person.username} {wrong.why}.")
        return _to(person)


@never_cache
@require_http_methods(["GET", "POST"])
@staff_only
def activate(request: PageRequest, user_id: int, active: bool) -> HttpResponse:
    """Let somebody in again, or no more."""
    need(request.user, CHANGE)
    person = get_object_or_404(User, pk=user_id)
    if request.method == "GET" and not active:
        return confirm(
            request,
            tab="people",
            title=f"Deactivate {person.username}?",
            says="They are signed out at once, and their API tokens stop working. What they decided stays. You can "
            "reactivate them later.",
            button="Deactivate",
            back=reverse("settings-person", args=[person.pk]),
        )
    if request.method == "POST":
        try:
            if people.set_active(person, active, by=request.user, origin=origin(request)):
                messages.success(request, f"{person.username} {'may sign in again' if active else 'is deactivated'}.")
        except PersonRefused as wrong:
            messages.error(request, f"{person.username} {wrong.why}.")
    return _to(person)


def _to(person: User) -> HttpResponse:
    return HttpResponseRedirect(reverse("settings-person", args=[person.pk]))


class ChangePassword(auth.PasswordChangeView):
    """One's own password; whoever is signed in elsewhere is signed out there."""

    template_name = "registration/change_password.html"
    success_url = reverse_lazy("inbox")

    def form_valid(self, form: forms.Form) -> HttpResponse:
        """Set it, and write that down."""
        with transaction.atomic():
            answer = super().form_valid(form)  # type: ignore[arg-type]
            people.password_changed(self.request.user, origin=origin(self.request))  # type: ignore[arg-type]
        return answer


class SetPassword(auth.PasswordResetConfirmView):
    """Where the link leads: a password, twice."""

    template_name = "registration/set_password.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: forms.Form) -> HttpResponse:
        """Set it, and write that down."""
        with transaction.atomic():
            answer = super().form_valid(form)  # type: ignore[arg-type]
            if self.user is not None:
                people.password_set(self.user, origin=origin(self.request))
        messages.success(self.request, "Your password is set. Sign in with it.")
        return answer
