"""COUNTERSIGN_FAULTS: the fault points of a process under test, and the check that no public site has them."""

import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from streams import faults

logger = logging.getLogger(__name__)


def switch_on() -> None:
    """Do what the variable says, and say so."""
    if settings.FAULTS:
        faults.switch_on(settings.FAULTS)
        logger.warning("%s is set: this process fails on purpose", faults.VARIABLE)


@checks.register(deploy=True)
def off(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    """A public site must not fail on purpose."""
    if not settings.FAULTS and not faults.is_on():
        return []
    words = f"{faults.VARIABLE}: this process fails on purpose at fault points"
    return [checks.Error(words, hint="It is for tests alone: unset it.", id="dashboard.E001")]
