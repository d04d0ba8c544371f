"""The campaign in short: a dozen decisions and two kills. `python -m tests.fifty_decisions` is the long one."""

from pathlib import Path

import pytest

from tests.fifty_decisions import campaign

pytestmark = pytest.mark.process


def test_every_effect_has_its_decision_although_the_server_is_killed(tmp_path: Path) -> None:
    figures = campaign(tmp_path, decisions=12, kills=2, minutes=0, seed=7, pace="fast")
    assert figures["broken"] == []
    assert figures["kills"] == 2
    assert set(figures["by_kind"]) == {"mindra", "middesk", "agui"}
    assert figures["decisions"] >= 12
    assert figures["statuses"].get("delivered", 0) >= 6
    assert min(figures["by_page"], figures["by_api"]) > 0
