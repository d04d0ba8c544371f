"""Typed readers of environment variables: every problem names its variable and the cause."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "", *, env: Mapping[str, str] = os.environ) -> str:
    """The variable, or else the contents of the file that NAME_FILE points at, or else the default."""
    if value := env.get(name, "").strip():
        return value
    if path := env.get(f"{name}_FILE", "").strip():
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {path}: {exc}") from exc
    return default


def integer(name: str, default: int, *, least: int, most: int, env: Mapping[str, str] = os.environ) -> int:
    """A whole number within its bounds."""
    raw = text(name, str(default), env=env)
    if not raw.isascii() or not raw.removeprefix("-").isdigit() or not least <= int(raw) <= most:
        raise ImproperlyConfigured(f"{name}: {raw!r} is not a whole number from {least} to {most}")
    return int(raw)


def flag(name: str, *, env: Mapping[str, str] = os.environ) -> bool:
    """1/true/yes/on or 0/false/no/off; unset is off."""
    raw = text(name, "0", env=env).lower()
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}: {raw!r} is neither on (1, true, yes) nor off (0, false, no)")


def words(name: str, *, env: Mapping[str, str] = os.environ) -> list[str]:
    """A list parted by commas or white space."""
    return text(name, env=env).replace(",", " ").split()


def origins(name: str, *, env: Mapping[str, str] = os.environ) -> list[str]:
    """Web origins: scheme://host[:port], nothing behind it."""
    found = words(name, env=env)
    for origin in found:
        try:
            parts = urlsplit(origin)
            port = parts.port
        except ValueError as exc:
            raise ImproperlyConfigured(f"{name}: {origin!r}: {exc}") from exc
        bare = f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")
        if parts.scheme not in {"http", "https"} or not parts.hostname or origin.lower() != bare:
            raise ImproperlyConfigured(f"{name}: {origin!r} is not an origin such as https://approvals.example.org")
    return [origin.lower() for origin in found]


def file_lines(path: Path) -> list[str]:
    """The non-empty lines of a key file, or nothing where there is no such file."""
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as exc:
        raise ImproperlyConfigured(f"{path.name}: cannot read it: {exc}") from exc
