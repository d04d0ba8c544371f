"""The app that faces people and machines."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_migrate


class DashboardConfig(AppConfig):
    name = "dashboard"
    verbose_name = "Dashboard"

    def ready(self) -> None:
        """Listen to what Django itself does: migrate, sign people in and out, change what they may.

        Where a test asks for it, fail on purpose.
        """
        from dashboard import access, fault_points, live, sessions

        post_migrate.connect(access.create_groups, sender=self, dispatch_uid="groups")
        user_logged_in.connect(sessions.bound, dispatch_uid="session end")
        user_logged_out.connect(live.signed_out, dispatch_uid="sockets of a session")
        sessions.watch_rights()
        fault_points.switch_on()
