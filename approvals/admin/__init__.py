"""Admin of what people answered: history to read; what can be done goes through the services that the pages use."""

from approvals.admin import chain, decided, deliveries, endpoints, requests

__all__ = ["chain", "decided", "deliveries", "endpoints", "requests"]
