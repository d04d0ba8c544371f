"""The app that holds what people answer."""

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals"
    verbose_name = "Approvals"

    def ready(self) -> None:
        """Let Django check what the operator allows webhooks to call."""
        from approvals import allowances  # noqa: F401 - registers its checks
