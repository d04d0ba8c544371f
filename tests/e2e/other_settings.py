"""Settings of a process under test: leases that run out sooner, and a wall clock that is wrong."""

import os
from datetime import UTC, datetime, timedelta

from dashboard.settings import *  # noqa: F403
from dashboard.settings import DATABASES, LEASE_RENEW_S, LEASE_SELF_STOP_S, LEASE_TTL_S

_shorter = float(os.environ.get("LEASES_SHORTER", "1"))
LEASE_TTL_S = LEASE_TTL_S / _shorter  # type: ignore[assignment]
LEASE_RENEW_S = LEASE_RENEW_S / _shorter  # type: ignore[assignment]
LEASE_SELF_STOP_S = LEASE_SELF_STOP_S / _shorter  # type: ignore[assignment]
DATABASES["default"]["OPTIONS"]["options"] = f"-c idle_in_transaction_session_timeout={LEASE_SELF_STOP_S * 1000:.0f}"

if _ahead_s := float(os.environ.get("CLOCK_AHEAD_S", "0")):
    import time_machine

    time_machine.travel(datetime.now(UTC) + timedelta(seconds=_ahead_s), tick=True).start()
