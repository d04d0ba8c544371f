"""The admin's forms for people: a new name may not be taken for another one."""

from django import forms
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm

from dashboard import people
from dashboard.models import User


def _checked(form: "forms.ModelForm[User]") -> str:
    name = str(form.cleaned_data.get("username") or "")
    if name != form.initial.get("username") and (why := people.name_problem(name, of=form.instance)):
        raise forms.ValidationError(why)
    return name


class NewPerson(AdminUserCreationForm):  # type: ignore[type-arg]  # Django has no such argument
    """A new account."""

    def clean_username(self) -> str:
        """As for who is invited from the page."""
        return _checked(self)


class ChangedPerson(UserChangeForm):  # type: ignore[type-arg]  # Django has no such argument
    """An account as it is; a name that somebody had before the rule stays."""

    def clean_username(self) -> str:
        """A new name is looked at."""
        return _checked(self)
