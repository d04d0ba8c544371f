"""What a new installation still needs before anybody can sign anything: asked of the rows, remembered nowhere."""

from dataclasses import dataclass

from django.db.models import Q

from approvals import decisions
from dashboard.access import Viewer
from dashboard.models import User
from streams.models import Provider, Run


@dataclass(frozen=True, slots=True)
class FirstUse:
    """The three steps, each done or not."""

    connected: bool
    begun: bool
    invited: bool

    @property
    def left(self) -> int:
        return [self.connected, self.begun, self.invited].count(False)


def of(user: Viewer) -> FirstUse | None:
    """What is left to do, for staff; None once all of it is done, and in a demo, which brings its own."""
    if not (user.is_authenticated and user.is_staff):
        return None
    providers = list(Provider.objects.values_list("options", flat=True))
    if any(options.get("demo") for options in providers if isinstance(options, dict)):
        return None
    found = FirstUse(bool(providers), Run.objects.exists(), _somebody_else_decides(user))
    return found if found.left else None


def _somebody_else_decides(user: Viewer) -> bool:
    label, _, name = decisions.PERMISSION.partition(".")
    by_group = Q(groups__permissions__codename=name, groups__permissions__content_type__app_label=label)
    own = Q(user_permissions__codename=name, user_permissions__content_type__app_label=label)
    others = User.objects.filter(is_active=True).exclude(username=user.get_username())
    return others.filter(by_group | own | Q(is_superuser=True)).exists()
