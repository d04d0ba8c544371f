"""Readers of the environment: a malformed value names its variable and the cause."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from dashboard import env


def test_a_value_stands_before_its_file_and_its_file_before_the_default(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from the file\n")
    assert env.text("X", "default", env={"X": "value", "X_FILE": str(path)}) == "value"
    assert env.text("X", "default", env={"X_FILE": str(path)}) == "from the file"
    assert env.text("X", "default", env={"X": "  "}) == "default"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"X_FILE: cannot read .*absent"):
        env.text("X", env={"X_FILE": str(tmp_path / "absent")})


@pytest.mark.parametrize("raw", ["1.5", "601", "-1", "five", "٣"])
def test_a_number_out_of_its_bounds_is_named(raw: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="UNDO: .* is not a whole number from 0 to 600"):
        env.integer("UNDO", 5, least=0, most=600, env={"UNDO": raw})


def test_a_number_may_be_given_or_left_out() -> None:
    assert env.integer("UNDO", 5, least=0, most=600, env={"UNDO": "7"}) == 7
    assert env.integer("UNDO", 5, least=0, most=600, env={}) == 5


@pytest.mark.parametrize(("raw", "on"), [("1", True), ("Yes", True), ("off", False), ("", False)])
def test_a_flag_is_on_or_off(raw: str, on: bool) -> None:
    assert env.flag("F", env={"F": raw}) is on


def test_a_flag_that_is_neither_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="F: 'maybe' is neither on .* nor off"):
        env.flag("F", env={"F": "maybe"})


def test_origins_are_lower_case_and_bare() -> None:
    told = {"O": "https://Approvals.example.org, http://127.0.0.1:8000"}
    assert env.origins("O", env=told) == ["https://approvals.example.org", "http://127.0.0.1:8000"]


@pytest.mark.parametrize(
    "raw",
    [
        "approvals.example.org",
        "https://a.example/",
        "https://a.example/x",
        "ftp://a.example",
        "https://a:b@c",
        "http://a:x",
    ],
)
def test_what_is_no_origin_is_named(raw: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="^O: "):
        env.origins("O", env={"O": raw})


def test_a_key_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert env.file_lines(tmp_path / "field_keys") == []
    (tmp_path / "field_keys").write_text("one\n\ntwo\n")
    assert env.file_lines(tmp_path / "field_keys") == ["one", "two"]


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot read it"):
        env.file_lines(tmp_path)
