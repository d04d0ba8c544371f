"""What the desk's pages share: who may, who did it from where, and forms that say what is wrong beside the field."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypedDict
from uuid import UUID, uuid4

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.views.defaults import permission_denied

from dashboard import views
from dashboard.models import User
from dashboard.views import PageRequest

P = ParamSpec("P")
View = Callable[Concatenate[PageRequest, P], HttpResponse]


class Who(TypedDict):
    """Who does something, and from where: as the services and the audit chain take it."""

    actor: str
    origin: str


def who(request: PageRequest) -> Who:
    return Who(actor=request.user.get_username(), origin=views.origin(request))


def staff_only(view: View[P]) -> View[P]:
    """Reading the settings is for staff; what somebody may change there, their permissions say."""

    @wraps(view)
    def asked(request: PageRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not request.user.is_staff:
            return denied(request)
        try:
            return view(request, *args, **kwargs)
        except PermissionDenied:
            return denied(request)

    return asked


def denied(request: HttpRequest) -> HttpResponse:
    """The page that says so. Nothing went wrong, so that the log gets a line and no traceback."""
    return permission_denied(request, PermissionDenied())


def need(user: User, permission: str) -> None:
    """Raise PermissionDenied unless this person, being staff, has the permission."""
    if not (user.is_staff and user.has_perm(permission)):
        raise PermissionDenied


def settings_page(
    request: PageRequest, template: str, context: Mapping[str, Any], *, tab: str, status: int = 200
) -> HttpResponse:
    """A page of the settings, with its tabs."""
    shared = {"here": "settings", "tab": tab}
    return views.page(request, f"dashboard/{template}", {**shared, **context}, status=status)


def confirm(request: PageRequest, *, tab: str, title: str, says: str, button: str, back: str) -> HttpResponse:
    """Ask once more before something that cannot be taken back, on a page of its own: what happens, then the button."""
    context = {"title": title, "says": says, "button": button, "back": back}
    return settings_page(request, "settings_confirm.html", context, tab=tab)


def shown_once(
    request: PageRequest, *, tab: str, title: str, says: str, secret: str, back: str, after: str = ""
) -> HttpResponse:
    """Something that is shown this one time: it stands in no list, no log and no message."""
    context = {"title": title, "says": says, "secret": secret, "back": back, "after": after}
    return settings_page(request, "settings_once.html", context, tab=tab)


def address(request: HttpRequest, path: str) -> str:
    """The whole address of one of our paths, as others reach it."""
    return settings.ORIGINS[0] + path if settings.ORIGINS else request.build_absolute_uri(path)


class DeskForm(forms.Form):
    """A form that is written out field by field (_field.html)."""

    use_required_attribute = False  # what is missing is said in our words, beside the field

    def __init__(self, data: QueryDict | None = None, **options: Any) -> None:
        super().__init__(data, label_suffix="", **options)
        for field in self.fields.values():
            _styled(field)

    def add(self, name: str, field: forms.Field) -> None:
        """One more field."""
        self.fields[name] = _styled(field)

    def refuse(self, problems: Mapping[str, str]) -> None:
        """What a service refused, beside the fields it is about; the rest at the form's head."""
        for name, why in problems.items():
            self.add_error(name if name in self.fields else None, sentence(why))


class OnceForm(DeskForm):
    """A form that makes one thing, however often its button is pressed: `key`, made with it, becomes the thing's id."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    spent = False

    @property
    def once(self) -> UUID:
        """The key to send along: the one that came, until it was used for something else."""
        known = getattr(self, "cleaned_data", {}).get("key")
        return known if isinstance(known, UUID) and not self.spent else uuid4()

    def clean(self) -> dict[str, Any] | None:
        """A missing key is nobody's fault who reads the form."""
        if self.errors.pop("key", None):
            self.add_error(None, "This form was not whole. Look at it again, then press the button once more.")
        return super().clean()

    def refuse(self, problems: Mapping[str, str]) -> None:
        """With a new key where the old one was used already."""
        self.spent = "key" in problems
        super().refuse({("" if name == "key" else name): why for name, why in problems.items()})


def _styled(field: forms.Field) -> forms.Field:
    if not isinstance(field.widget, forms.CheckboxInput | forms.CheckboxSelectMultiple | forms.RadioSelect):
        field.widget.attrs["class"] = f"area {field.widget.attrs.get('class', '')}".strip()
    return field


def sentence(why: str) -> str:
    """A reason from a service as a sentence."""
    return f"{why[:1].upper()}{why[1:].rstrip('.')}." if why else ""


def line(label: str, *, hint: str = "", required: bool = True, most: int = 200, **more: Any) -> forms.CharField:
    """One line of text, for machines to read: no help with its spelling."""
    attrs = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none", **more.pop("attrs", {})}
    return forms.CharField(
        label=label, help_text=hint, required=required, max_length=most, widget=forms.TextInput(attrs=attrs), **more
    )


def secret_line(label: str, *, hint: str = "", required: bool = False) -> forms.CharField:
    """A secret: it goes in and never comes out."""
    attrs = {"autocomplete": "new-password", "spellcheck": "false"}
    widget = forms.PasswordInput(render_value=False, attrs=attrs)
    return forms.CharField(label=label, help_text=hint, required=required, max_length=4_000, widget=widget)
