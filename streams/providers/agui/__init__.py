"""AG-UI 1.0, the consumer's side: docs.ag-ui.com/spec/1.0, read 2026-11."""

from streams.providers.agui.adapter import AGUI

__all__ = ["AGUI"]
