"""What the rows share: the tests' own adapters, and how much is asked of a row here."""

import pytest

from streams import providers
from streams.providers.fake import Fake
from tests.long_form import LONG
from tests.streams import holding

LONG_LIMIT_S = 1200


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for adapter in (Fake(), Fake("once", replay="none", stall_s=None, stall_waiting_s=None, reads_on=True)):
        monkeypatch.setitem(providers.REGISTRY, adapter.kind, adapter)
    if LONG:
        monkeypatch.setattr(holding, "LIMIT_S", LONG_LIMIT_S)
