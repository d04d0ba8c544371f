"""Routes."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, path
from django.views.decorators.cache import never_cache
from django.views.generic import RedirectView

from dashboard import machines, views
from dashboard.desk import urls as desk


class Favicon(RedirectView):
    """Browsers ask for it by this name."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        return static("dashboard/favicon.svg")


urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.inbox, name="inbox"),
    path("live/", views.live, name="live"),
    path("requests/<uuid:request_id>/", views.request_page, name="request"),
    path("requests/<uuid:request_id>/exact/", views.exact, name="exact"),
    path("requests/<uuid:request_id>/edit/", views.edit, name="edit"),
    path("requests/<uuid:request_id>/decision/", views.decide, name="decide"),
    path("requests/<uuid:request_id>/undo/", views.undo, name="undo"),
    path("requests/<uuid:request_id>/resolve/", views.resolve, name="resolve"),
    *desk.urlpatterns,
    path("runs/<uuid:run_id>/", views.run_page, name="run"),
    path("runs/<uuid:run_id>/again/", views.run_again, name="run-again"),
    path("runs/<uuid:run_id>/events/<int:seq>/", views.event, name="event"),
    path(
        "accounts/login/",
        auth.LoginView.as_view(template_name="registration/login.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("favicon.ico", login_not_required(never_cache(Favicon.as_view()))),
    path("admin/", admin.site.urls),
    *machines.urlpatterns,
]
