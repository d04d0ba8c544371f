"""What every holder of a process shares."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from streams.journal import Journal
from streams.pace import Pace


@dataclass(frozen=True, slots=True)
class Tools:
    """`owner` is the process's name on its leases; `chance` and `now` are a test's to replace."""

    owner: str
    journal: Journal
    pace: Pace = field(default_factory=Pace)
    chance: Callable[[], float] = random.random
    now: Callable[[], datetime] = timezone.now
