from collections.abc import Iterator

import pytest

from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import AgUiClient, MiddeskClient, MindraClient


@pytest.fixture(scope="package")
def shared() -> Iterator[Emulator]:
    """One emulator for all tests that arm faults by a run's own text."""
    with emulator() as running:
        yield running


@pytest.fixture
def mindra(shared: Emulator) -> Iterator[MindraClient]:
    with MindraClient(shared) as client:
        yield client


@pytest.fixture
def agui(shared: Emulator) -> Iterator[AgUiClient]:
    with AgUiClient(shared) as client:
        yield client


@pytest.fixture
def middesk(shared: Emulator) -> Iterator[MiddeskClient]:
    with MiddeskClient(shared) as client:
        yield client
