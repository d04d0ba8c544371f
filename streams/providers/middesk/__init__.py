"""Middesk's agents: runs on a business that pause for a person. docs.middesk.com/work-with-agents, read 2026-11."""

from streams.providers.middesk.adapter import Middesk

__all__ = ["Middesk"]
