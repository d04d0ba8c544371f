"""One server and one emulator for all tests of a worker: each start costs seconds."""

from collections.abc import Iterator

import pytest

from tests.e2e.stage import Stage, stage


@pytest.fixture(scope="session")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Everything that runs; a test makes runs of its own on it."""
    with stage(tmp_path_factory.mktemp("stage")) as made:
        yield made
        log = made.house.log.read_text()
    assert "Traceback" not in log, log[-5000:]
