"""The page about the streams' health."""

from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from dashboard import panels, stream_health
from dashboard.views import PageRequest, page


@never_cache
@require_GET
def listing(request: PageRequest) -> HttpResponse:
    """Everybody may see how the streams are; which process holds them is for staff."""
    name = request.GET.get("provider", "")[:60].replace("\x00", "")
    found = stream_health.health(panels.sight(request.user), provider=name, only_apart=request.GET.get("apart") == "1")
    return page(request, "dashboard/streams.html", {"health": found, "here": "streams"})
