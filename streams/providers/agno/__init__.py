"""Agno AgentOS' own wire: runs of agents, their pauses and continuations; read against agno 3.1.10, 2026-11."""

from streams.providers.agno.adapter import Agno

__all__ = ["Agno"]
