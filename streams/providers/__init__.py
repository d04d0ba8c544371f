"""The registry: a provider kind's name -> its adapter."""

from collections.abc import Mapping

from streams.providers.agno import Agno
from streams.providers.agui import AGUI
from streams.providers.base import Provider
from streams.providers.langgraph import LangGraph
from streams.providers.middesk import Middesk
from streams.providers.mindra import Mindra

REGISTRY: Mapping[str, Provider] = {
    provider.kind: provider for provider in (Mindra(), Middesk(), AGUI(), LangGraph(), Agno())
}


def get(kind: str) -> Provider:
    """The adapter of a kind. Raises LookupError naming the kinds there are."""
    try:
        return REGISTRY[kind]
    except KeyError:
        raise LookupError(f"unknown provider kind {kind!r}; there are {', '.join(sorted(REGISTRY))}") from None
