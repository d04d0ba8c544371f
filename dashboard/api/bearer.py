"""Bearer tokens: who calls, with which scope, from where."""

from django.http import HttpRequest
from ninja.security import HttpBearer

from dashboard import tokens
from dashboard.api.errors import Forbidden
from dashboard.models import ApiToken


class ApiRequest(HttpRequest):
    """A request that a token opened."""

    auth: ApiToken


class Bearer(HttpBearer):
    """A token with one scope. Sessions do not count here, so there is nothing that another site could ride on."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        """The token's row, or None for 401. Raises Forbidden when it lacks the scope."""
        row = tokens.find(token)
        if row is not None and self.scope not in row.scopes:
            raise Forbidden("scope_missing", f"this token lacks the scope {self.scope}")
        return row


def origin(request: ApiRequest) -> str:
    """From where, for the audit: address and token."""
    return f"{request.META.get('REMOTE_ADDR', '')} token:{request.auth.prefix}".strip()
