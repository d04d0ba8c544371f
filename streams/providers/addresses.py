"""URLs and headers of calls: ids that are safe in a path, addresses that stay on an account's own origin."""

import re
from urllib.parse import quote, urlsplit

from streams.errors import WireError
from streams.events import text

ID_LIMIT = 300  # ApprovalRequest.call_id
DEFAULT_PORTS = {"http": 80, "https": 443}
UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


def id_problem(value: str, limit: int = ID_LIMIT) -> str:
    """Why an id could not be sent back in a path exactly as it came; empty if it can."""
    if not value or value in (".", ".."):  # dot segments are resolved away: the call would reach another path
        return "it is empty or a dot segment"
    if len(value) > limit:
        return f"it has more than {limit} characters"
    return "it holds a NUL or half a character" if text(value)[1] else ""


def segment(value: str) -> str:
    """An id as one path segment. Raises WireError where it could mean another path."""
    if why := id_problem(value, limit=2_000):
        raise WireError(f"an id cannot go into a path: {why}")
    return quote(value, safe="")


def base_url_problem(url: str) -> str:
    """Why calls cannot begin with this URL; empty if they can. A host name without a dot is fine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        return f"not a URL: {exc}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "it must begin with http:// or https:// and name a host"
    if parts.username is not None or parts.password is not None:
        return "no user name or password in it: the secret has a place of its own"
    if parts.fragment or port == 0 or any(char.isspace() or not char.isprintable() for char in url):
        return "no fragment, no port 0, no blanks"
    return ""


def join(base_url: str, path: str) -> str:
    """A path below the base URL, whose own path prefix is kept."""
    return base_url.rstrip("/") + path


def own(base_url: str, address: str) -> str:
    """The absolute form of an address that a provider gave, or "" where it is not on the base URL's origin.

    A relative one goes below the base URL (docs.mindra.co/docs/guides/handling-approvals prefixes it so), unless it
    already begins with the base URL's path.
    """
    if not address or UNSAFE.search(address) or "/../" in f"{address}/" or "/./" in f"{address}/":
        return ""
    try:
        base, given = urlsplit(base_url), urlsplit(address)
        if given.scheme or given.netloc:
            same = (given.scheme.lower(), given.hostname, _port(given.scheme, given.port)) == (
                base.scheme.lower(),
                base.hostname,
                _port(base.scheme, base.port),
            )
            return address if same and "@" not in given.netloc else ""
    except ValueError:  # a port that is no number, a broken IPv6 address
        return ""
    prefix = base.path.rstrip("/")
    if prefix and address.startswith(f"{prefix}/"):
        return f"{base.scheme}://{base.netloc}{address}"
    return join(base_url, "/" + address.lstrip("/"))


def secret_header(name: str, value: str) -> dict[str, str]:
    """A header that carries a secret; none without one. Raises WireError, which does not tell the secret."""
    if not value:
        return {}
    if not HEADER_NAME.fullmatch(name):
        raise WireError("the header for the secret has no valid name")
    if not HEADER_VALUE.fullmatch(value):
        raise WireError("the secret holds characters that no header can carry")
    return {name: value}


def _port(scheme: str, port: int | None) -> int | None:
    return port if port is not None else DEFAULT_PORTS.get(scheme.lower())
