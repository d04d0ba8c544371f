"""People: invited with a link that sets their password, put into a group, let in no more. Every step is audited.

No mail is sent: whoever invites hands the link over. It works once, because it is bound to the password it replaces.
A name stands beside what its person decides, for good: none may be taken for another.
"""

import re
import unicodedata

from django.contrib.auth.models import Group
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from approvals import audit
from dashboard.access import GROUPS
from dashboard.models import User

NAME = re.compile(r"[A-Za-z0-9.@_+-]+")


class PersonRefused(Exception):
    """Somebody who cannot be invited or changed so; `field` names what is wrong."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field, self.why = field, why


def name_problem(username: str, *, of: User | None = None) -> str:
    """Why a new name could be taken for another; empty where it cannot. `of`: whose name it is to be."""
    if not NAME.fullmatch(username):  # letters of other scripts can look the same as these
        return "Use letters a to z, digits and . @ + - _ only: names of other letters can look the same."
    if _folded(username) == audit.SYSTEM:
        return "The record says system where nobody acted in person: choose another name."
    others = User.objects.exclude(pk=of.pk) if of and of.pk else User.objects.all()
    taken = (name for name in others.values_list("username", flat=True) if _folded(name) == _folded(username))
    other = next(taken, "")
    return f"It differs from {other} only in its letters' case or form: choose another name." if other else ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def invite(*, username: str, group: str, full_name: str = "", by: User, origin: str) -> User:
    """Add a person who has no password yet. Raises PersonRefused."""
    first, _, last = full_name.strip().partition(" ")
    person = User(username=username, first_name=first, last_name=last.strip())
    person.set_unusable_password()
    try:
        person.full_clean(exclude=["password"])
    except ValidationError as exc:
        field, said = next(iter(exc.message_dict.items()))
        raise PersonRefused("full_name" if field.endswith("_name") else field, " ".join(said)) from exc
    if why := name_problem(person.get_username()):
        raise PersonRefused("username", why)
    with transaction.atomic():
        person.save()
        person.groups.set([_group(group)])
        _audit("person.invited", person, by, origin, group=group)
    return person


def link(person: User, *, by: User, origin: str) -> tuple[str, str]:
    """The two parts of a link with which this person sets a password, once. Raises PersonRefused."""
    _touchable(person, by)
    if not person.is_active:
        raise PersonRefused("person", "is deactivated: reactivate them first")
    with transaction.atomic():
        _audit("person.link_made", person, by, origin)
    return urlsafe_base64_encode(force_bytes(person.pk)), default_token_generator.make_token(person)


def password_set(person: User, *, origin: str) -> None:
    """Write down that somebody set their password by a link."""
    _audit("person.password_set", person, person, origin)


def password_changed(person: User, *, origin: str) -> None:
    """Write down that somebody changed their own password."""
    _audit("person.password_changed", person, person, origin)


def move(person: User, group: str, *, by: User, origin: str) -> None:
    """Put a person into one of the house's groups; groups made by others are left alone. Raises PersonRefused."""
    _touchable(person, by)
    with transaction.atomic():
        target = _group(group)
        person.groups.remove(*person.groups.filter(name__in=GROUPS).exclude(pk=target.pk))
        person.groups.add(target)
        _audit("person.moved", person, by, origin, group=group)


def set_active(person: User, active: bool, *, by: User, origin: str) -> bool:
    """Let a person in or no more; their sessions and tokens end at once. Whether this call changed it."""
    _touchable(person, by)
    if person.pk == by.pk:
        raise PersonRefused("person", "is you: somebody else has to do this")
    with transaction.atomic():
        person = User.objects.select_for_update(no_key=True).get(pk=person.pk)
        if person.is_active == active:
            return False
        person.is_active = active
        person.save(update_fields=["is_active"])
        _audit("person.reactivated" if active else "person.deactivated", person, by, origin)
    return True


def touchable(person: User, by: User) -> bool:
    """Whether `by` may change this person: whoever is staff themselves only by a superuser."""
    return by.is_superuser or not (person.is_staff or person.is_superuser)


def _touchable(person: User, by: User) -> None:
    if not touchable(person, by):
        raise PersonRefused("person", "is staff: only a superuser may change them")


def _group(name: str) -> Group:
    if name not in GROUPS:
        raise PersonRefused("group", f"there are {', '.join(GROUPS)}")
    return Group.objects.get_or_create(name=name)[0]


def _audit(action: str, person: User, by: User, origin: str, **data: object) -> None:
    facts = {"username": person.get_username(), **data}
    audit.append(action=action, actor=by.get_username(), target=f"user:{person.pk}", origin=origin, data=facts)
