"""API tokens: everybody's own, shown once when made; staff see and end all of them."""

from datetime import timedelta
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import tokens
from dashboard.desk.pages import OnceForm, confirm, denied, line, settings_page, shown_once, who
from dashboard.models import ApiToken, User
from dashboard.tokens import TokenRefused
from dashboard.views import PageRequest

END_ALL = "dashboard.change_apitoken"
SHOWN = 200
LASTS = (("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("0", "only when it is revoked"))


class TokenForm(OnceForm):
    """A token for oneself."""

    name = line(
        "Name", most=80, hint="What will use it, such as nightly-report.", error_messages={"required": "Name its use."}
    )
    scopes = forms.MultipleChoiceField(
        label="It may", choices=[(scope, f"{says} ({scope})") for scope, says in tokens.SCOPES.items()],
        widget=forms.CheckboxSelectMultiple, error_messages={"required": "Choose at least one."},
        help_text="Never more than you may yourself.",
    )  # fmt: skip
    days = forms.ChoiceField(label="It ends after", choices=LASTS, initial="90")


@never_cache
@require_GET
def listing(request: PageRequest) -> HttpResponse:
    """One's own tokens; for staff everybody's."""
    return _list(request, TokenForm())


def _list(request: PageRequest, form: TokenForm) -> HttpResponse:
    rows = list(_visible(request.user).select_related("user").order_by("revoked_at", "-created_at")[: SHOWN + 1])
    now = timezone.now()
    context = {
        "tokens": [(row, _ended(row), row.expires_at is not None and row.expires_at <= now) for row in rows[:SHOWN]],
        "more": len(rows) > SHOWN,
        "most": SHOWN,
        "sees_all": request.user.is_staff,
        "ends_all": _ends_all(request.user),
        "form": form,
    }
    status = 422 if form.is_bound else 200
    return settings_page(request, "settings_tokens.html", context, tab="tokens", status=status)


def _ended(row: ApiToken) -> bool:
    return row.revoked_at is not None


@sensitive_variables("token")
@never_cache
@require_POST
def create(request: PageRequest) -> HttpResponse:
    """Make a token and show it, this once."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _list(request, form)
    said = form.cleaned_data
    days = int(said["days"])
    try:
        row, token = tokens.create(
            name=said["name"],
            user=request.user,
            scopes=said["scopes"],
            expires_at=timezone.now() + timedelta(days=days) if days else None,
            key=said["key"],
            **who(request),
        )
    except TokenRefused as wrong:
        form.refuse({"scopes" if wrong.field == "scope" else wrong.field: wrong.why})
        return _list(request, form)
    says = "Send it as Authorization: Bearer, with each call to /api/v1/. Copy it now: only its hash is kept."
    title = f"The token {row.name} is made."
    return shown_once(
        request, tab="tokens", title=title, says=says, secret=token, back=reverse("settings-tokens"), after="docs"
    )


@never_cache
@require_http_methods(["GET", "POST"])
def revoke(request: PageRequest, token_id: UUID) -> HttpResponse:
    """End a token, for good."""
    row = _visible(request.user).select_related("user").filter(pk=token_id).first()
    if row is None:
        raise Http404("no such token")
    if row.user_id != request.user.pk and not _ends_all(request.user):
        return denied(request)
    if request.method == "GET":
        whose = "" if row.user_id == request.user.pk else f" of {row.user.get_username()}"
        return confirm(
            request,
            tab="tokens",
            title=f"Revoke {row.name}{whose}?",
            says=f"The next call with {row.prefix}… is refused. This cannot be taken back; a new token can be made.",
            button="Revoke it",
            back=reverse("settings-tokens"),
        )
    if tokens.revoke(row, **who(request)):
        messages.success(request, f"{row.name} is revoked.")
    return HttpResponseRedirect(reverse("settings-tokens"))


def _visible(user: User) -> QuerySet[ApiToken]:
    return ApiToken.objects.all() if user.is_staff else ApiToken.objects.filter(user=user)


def _ends_all(user: User) -> bool:
    """Whether somebody may end others' tokens too."""
    return user.is_staff and user.has_perm(END_ALL)
