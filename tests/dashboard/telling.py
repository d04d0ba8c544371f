"""Events of a run, put where the journal puts them."""

import json
from typing import Any

from django.utils import timezone

from streams import events
from streams.models import Event, Run


def tell(run: Run, kind: str = "chunk", **payload: Any) -> None:
    """The next event of a run; without a payload a bit of text."""
    text = json.dumps(payload or {"content": "and so on. "})
    seq = Event.objects.filter(run=run).count() + 1
    Event.objects.create(
        run=run, seq=seq, kind=kind, payload=text, sha256=events.sha256(text), received_at=timezone.now()
    )
