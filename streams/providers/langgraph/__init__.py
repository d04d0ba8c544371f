"""The LangGraph platform's own wire: threads, their runs and interrupts; read against langgraph-api 0.16.7, 2026-11."""

from streams.providers.langgraph.adapter import LangGraph

__all__ = ["LangGraph"]
