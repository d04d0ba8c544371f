"""`manage.py up`: what it sets up, and that a second time changes nothing."""

from pathlib import Path

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from pytest_django import Settings

from dashboard.management.commands import up


@pytest.mark.django_db
def test_the_first_user_can_sign_in_with_the_password_that_is_told_once() -> None:
    password = up.make_first_user()
    assert password is not None
    assert len(password) == up.PASSWORD_LENGTH
    user = authenticate(username="admin", password=password)
    assert user is not None
    assert user.is_superuser
    assert up.make_first_user() is None


@pytest.mark.django_db
def test_no_first_user_is_made_beside_another_superuser_or_over_an_admin() -> None:
    users = get_user_model()
    ada = users.objects.create_superuser("ada")
    assert up.make_first_user() is None
    ada.delete()
    users.objects.create_user("admin")
    assert up.make_first_user() is None


@pytest.fixture
def source(tmp_path: Path, settings: Settings) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.css").write_text("body {}")
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [folder]
    settings.DATA_DIR = tmp_path
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    return folder


def collected(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_static_files_are_collected_again_only_if_their_content_changed(source: Path, tmp_path: Path) -> None:
    up.collect_static_files()
    first = collected(tmp_path / "static")
    assert {"app.css", "staticfiles.json"} < set(first)
    (source / "app.css").touch()
    up.collect_static_files()
    assert collected(tmp_path / "static") == first
    (source / "app.css").write_text("body { color: red }")
    up.collect_static_files()
    assert len(collected(tmp_path / "static")) > len(first)


def test_static_files_that_were_removed_are_collected_again(source: Path, tmp_path: Path) -> None:
    up.collect_static_files()
    (tmp_path / "static" / "staticfiles.json").unlink()
    up.collect_static_files()
    assert (tmp_path / "static" / "staticfiles.json").exists()


def test_up_without_keys_says_how_to_get_them(settings: Settings) -> None:
    settings.KEYS_GIVEN = False
    with pytest.raises(CommandError, match="start with `manage.py up`"):
        call_command("up")
