"""Settings of a public installation: Django's own deployment check is silent, cookies and hosts are strict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PUBLIC = {
    "SESSION_COOKIE_NAME": "__Host-countersign",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SECURE_SSL_REDIRECT": True,
    "SECURE_REDIRECT_EXEMPT": ["^health/"],
    "SECURE_HSTS_SECONDS": 2 * 365 * 24 * 3600,
    "ALLOWED_HOSTS": ["approvals.example.org", "b.example.org"],
    "CSRF_TRUSTED_ORIGINS": ["https://approvals.example.org", "https://b.example.org:8443"],
    "DEBUG": False,
    "USE_X_FORWARDED_HOST": False,
    "SECURE_CONTENT_TYPE_NOSNIFF": True,
}
KEYS = {
    "COUNTERSIGN_SECRET_KEY": "only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGH",
    "COUNTERSIGN_FIELD_KEYS": "dGVzdHMtb25seS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0=",
}


def python(code: str, folder: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run code with settings read from this environment alone."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN", "DATABASE", "REDIS"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import django; django.setup()\n{code}"],
        cwd=ROOT,
        env={**kept, "DJANGO_SETTINGS_MODULE": "dashboard.settings", "COUNTERSIGN_DATA_DIR": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def settings(folder: Path, **env: str) -> dict[str, object]:
    read = f"{{name: getattr(settings, name) for name in {list(PUBLIC)}}}"
    code = f"import json\nfrom django.conf import settings\nprint(json.dumps({read}))"
    done = python(code, folder, **env)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_deployment_check_is_silent(tmp_path: Path) -> None:
    code = "from django.core.management import call_command\ncall_command('check', deploy=True, fail_level='WARNING')"
    done = python(code, tmp_path, COUNTERSIGN_ORIGINS="https://approvals.example.org", **KEYS)
    assert done.returncode == 0, done.stderr
    assert "0 silenced" in done.stdout and "no issues" in done.stdout


def test_an_https_origin_makes_everything_strict(tmp_path: Path) -> None:
    found = settings(tmp_path, COUNTERSIGN_ORIGINS="https://approvals.example.org https://b.example.org:8443", **KEYS)
    assert found == PUBLIC


def test_without_origins_only_loopback_is_served(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert (found["SESSION_COOKIE_SECURE"], found["DEBUG"]) == (False, False)
    assert not any(tmp_path.iterdir()), "reading settings writes nothing"


def test_installations_that_share_a_redis_have_channels_of_their_own(tmp_path: Path) -> None:
    code = "from django.conf import settings as s; print(s.STREAMS_CHANNEL, s.CHANNEL_LAYERS['default']['CONFIG'])"
    redis = {"REDIS_URL": "redis://127.0.0.1:6379/0"}
    for prefix, env in (("countersign", redis), ("staging", {**redis, "COUNTERSIGN_REDIS_PREFIX": "staging"})):
        said = python(code, tmp_path, **env)
        assert f"'prefix': '{prefix}'" in said.stdout, said.stderr
        assert said.stdout.startswith(f"{prefix}.streams ")


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"COUNTERSIGN_ORIGINS": "https://a.example/path"}, "COUNTERSIGN_ORIGINS"),
        ({"COUNTERSIGN_ORIGINS": "approvals.example.org"}, "COUNTERSIGN_ORIGINS"),
        ({"COUNTERSIGN_UNDO_S": "601"}, "COUNTERSIGN_UNDO_S"),
        ({"COUNTERSIGN_DEBUG": "perhaps"}, "COUNTERSIGN_DEBUG"),
        ({"DATABASE_URL": "postgres://localhost/x"}, "COUNTERSIGN_SECRET_KEY"),
        ({"DATABASE_URL": "mysql://localhost/x", **KEYS}, "DATABASE_URL"),
        ({"REDIS_URL": "http://localhost"}, "REDIS_URL"),
        ({"COUNTERSIGN_SECRET_KEY_FILE": "/nowhere/at/all"}, "COUNTERSIGN_SECRET_KEY_FILE"),
    ],
)
def test_a_broken_variable_is_named(tmp_path: Path, env: dict[str, str], named: str) -> None:
    done = python("", tmp_path, **env)
    assert done.returncode != 0
    assert f"ImproperlyConfigured: {named}" in done.stderr
