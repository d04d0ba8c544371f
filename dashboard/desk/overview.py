"""Settings: what there is to set up, and how it stands, on one page."""

from django.db.models import Count, Q
from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from approvals.models import WebhookEndpoint
from dashboard.desk.pages import settings_page, staff_only
from dashboard.models import ApiToken, User
from dashboard.views import PageRequest
from streams.models import Provider


@never_cache
@require_GET
@staff_only
def page(request: PageRequest) -> HttpResponse:
    """Four numbers, each the way to what it counts."""
    context = {
        "providers": Provider.objects.aggregate(
            all=Count("pk"),
            paused=Count("pk", filter=Q(paused=True)),
            refused=Count("pk", filter=Q(credential_refused_at__isnull=False)),
        ),
        "webhooks": WebhookEndpoint.objects.aggregate(
            all=Count("pk"), disabled=Count("pk", filter=Q(disabled_at__isnull=False))
        ),
        "tokens": ApiToken.objects.filter(revoked_at=None).count(),
        "people": User.objects.aggregate(
            active=Count("pk", filter=Q(is_active=True)),
            invited=Count("pk", filter=Q(is_active=True, last_login=None)),
        ),
    }
    return settings_page(request, "settings.html", context, tab="overview")
