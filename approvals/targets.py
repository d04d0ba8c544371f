"""Which addresses a webhook may call: its URL as written, and each address that its name leads to.

One reader for both sides: what `read` made of a URL is what is connected to, so no second parser can understand it
differently. Notations that another parser might take for something else are refused, not put right.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import idna
from django.conf import settings

URL_MAX = 500  # as long as the column that keeps it
HOST_MAX = 253
PORTS = frozenset({80, 443, 8080, 8443})
DEFAULT_PORTS = {"http": 80, "https": 443}

Address = IPv4Address | IPv6Address

# ASCII: without it, ignoring case would let a long s (U+017F) stand for an s.
_URL = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.ASCII)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label that makes inet_aton() and browsers read an IPv4 address
_IPV6 = re.compile(r"\[([0-9A-Fa-f:]+)\]")  # without a dotted tail

# Names that never mean a public host: RFC 6761, 6762, 8375, ICANN's .internal, and what private networks and clusters
# use. Names in public DNS that lead inside are found when they are resolved.
_INSIDE = frozenset({
    "localhost", "local", "internal", "home.arpa", "localdomain", "lan", "home", "corp", "intranet", "private", "svc",
    "metadata.goog",
})  # fmt: skip

# IANA's special-purpose registries (read 2026-11), and what else reaches no public host. The first match names it.
_SPECIAL_4 = [
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/32", "the unspecified"),
        ("0.0.0.0/8", "a this-network"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a shared (carrier-grade NAT)"),
        ("127.0.0.0/8", "a loopback"),
        ("168.63.129.16/32", "a cloud platform's internal"),  # Azure: public by number, the host's agent by route
        ("169.254.0.0/16", "a link-local"),
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a protocol assignment"),
        ("192.0.2.0/24", "a documentation"),
        ("192.31.196.0/24", "an AS112"),
        ("192.52.193.0/24", "an AMT"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private"),
        ("192.175.48.0/24", "an AS112"),
        ("198.18.0.0/15", "a benchmarking"),
        ("198.51.100.0/24", "a documentation"),
        ("203.0.113.0/24", "a documentation"),
        ("224.0.0.0/4", "a multicast"),
        ("255.255.255.255/32", "the broadcast"),
        ("240.0.0.0/4", "a reserved"),
    )
]
_SPECIAL_6 = [
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "the unspecified"),
        ("::1/128", "a loopback"),
        ("::/96", "an IPv4-compatible"),
        ("::ffff:0:0/96", "an IPv4-mapped"),
        ("::ffff:0:0:0/96", "an IPv4-translated"),
        ("64:ff9b::/96", "a NAT64"),
        ("64:ff9b:1::/48", "a NAT64"),
        ("100::/64", "a discard-only"),
        ("2001::/32", "a Teredo"),
        ("2001:2::/48", "a benchmarking"),
        ("2001:10::/28", "an ORCHID"),
        ("2001:20::/28", "an ORCHID"),
        ("2001::/23", "a protocol assignment"),
        ("2001:db8::/32", "a documentation"),
        ("2002::/16", "a 6to4"),
        ("2620:4f:8000::/48", "an AS112"),
        ("3fff::/20", "a documentation"),
        ("fc00::/7", "a unique local"),
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a site-local"),
        ("ff00::/8", "a multicast"),
    )
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out


class TargetRefused(Exception):
    """A webhook may not go there. The text says why, without the URL: its path may hold a key."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, in ASCII; what is connected to is made of nothing else."""

    scheme: str
    host: str  # lower case; an IPv6 address without its brackets
    port: int
    path: str  # with the query, beginning with a slash
    address: Address | None  # where the host is one
    permitted: bool = False  # COUNTERSIGN_WEBHOOK_HOSTS names it: its addresses are the operator's word

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def refuse_reason(url: str) -> str | None:
    """Why a webhook may not call this URL; None: it may. Looks at the URL alone, without DNS."""
    try:
        read(url)
    except TargetRefused as exc:
        return str(exc)
    return None


def refuse_address(ip: str | Address) -> str | None:
    """Why a webhook may not connect to this address; None: it may. Asked for every address a name leads to."""
    try:
        address = ip_address(ip)
    except ValueError:
        return "it is no IP address"
    kind = _special(address)
    return None if kind is None else f"it is {kind} address"


def read(url: str, *, allowed: Sequence[str] | None = None) -> Target:
    """Take a URL apart. Raises TargetRefused. `allowed`: host[:port] entries, by default the operator's."""
    scheme, authority, path = _parts(url)
    host_text, port_text = _split(authority)
    host, address = _host(host_text)
    port = DEFAULT_PORTS[scheme] if port_text is None else _port(port_text)
    exempt = _allowances(tuple(settings.WEBHOOK_HOSTS if allowed is None else allowed))
    permitted = (host, port) in exempt or (host, None) in exempt
    if not permitted:
        _check(host, address, port)
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}", address, permitted)


def read_allowance(entry: str) -> tuple[str, int | None]:
    """One `host` (all its ports) or `host:port` of COUNTERSIGN_WEBHOOK_HOSTS. Raises TargetRefused."""
    if entry.count(":") > 1 and not entry.startswith("["):
        entry = f"[{entry}]"
    host_text, port_text = _split(entry)
    return _host(host_text)[0], None if port_text is None else _port(port_text)


@functools.lru_cache(maxsize=16)
def _allowances(entries: tuple[str, ...]) -> frozenset[tuple[str, int | None]]:
    found = set()
    for entry in entries:
        try:
            found.add(read_allowance(entry))
        except TargetRefused:
            continue  # it permits nothing
    return frozenset(found)


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, authority, path with query. Nothing in them can end a line, a header or the authority early."""
    if len(url) > URL_MAX:
        raise TargetRefused(f"the URL is longer than {URL_MAX} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise TargetRefused("the URL has white space, control characters or backslashes in it")
    if "#" in url:
        raise TargetRefused("the URL has a fragment (#), which is never sent")
    match = _URL.fullmatch(url)
    if match is None:
        raise TargetRefused("the URL must begin with http:// or https://")
    scheme, authority, path = match.groups()
    if "@" in authority:
        raise TargetRefused("the URL has a user name or password in it")
    if not _PATH.fullmatch(path):
        raise TargetRefused("the path or query has characters that must be percent-encoded")
    return scheme.lower(), authority, path


def _split(authority: str) -> tuple[str, str | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match[1]:
        raise TargetRefused("the host is missing or malformed")
    return match[1], match[2]


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise TargetRefused("the port is not a plain number")
    return int(text)


def _host(text: str) -> tuple[str, Address | None]:
    """The host in its one notation. Raises TargetRefused for every other notation of it."""
    if text.startswith("["):
        return _ipv6(text)
    if "%" in text:
        raise TargetRefused("the host is percent-encoded")
    if text.endswith("."):
        raise TargetRefused("the host ends with a dot")
    name = ".".join(_label(label) for label in text.split("."))
    if len(name) > HOST_MAX:
        raise TargetRefused(f"the host is longer than {HOST_MAX} characters")
    if not _NUMBER.fullmatch(name.rpartition(".")[2]):
        return name, None
    try:
        if _QUAD.fullmatch(name):
            return name, IPv4Address(name)
    except ValueError:
        pass
    raise TargetRefused("the host is an IPv4 address in an odd notation")


def _ipv6(text: str) -> tuple[str, Address]:
    match = _IPV6.fullmatch(text)
    try:
        if match is not None:
            address = IPv6Address(match[1])
            return str(address), address
    except ValueError:
        pass
    raise TargetRefused("the host is no IPv6 address in plain notation")


def _label(text: str) -> str:
    """One part of a name in lower case ASCII, by IDNA 2008 alone.

    No mapping (UTS 46): it would turn full-width or circled characters into the digits and dots of an address.
    """
    lower = text.lower()
    if lower.isascii() and not text.isascii():  # a Kelvin sign
        raise TargetRefused("the host has characters that stand for others")
    try:
        label = lower if lower.isascii() else idna.alabel(lower).decode("ascii")
        if label.startswith("xn--"):
            idna.ulabel(label)
    except UnicodeError:  # idna.IDNAError is one
        raise TargetRefused("the host is no valid international name") from None
    # RFC 5890: hyphens in the third and fourth place are kept for encodings, and xn-- is the only one.
    if not _LABEL.fullmatch(label) or (label[2:4] == "--" and not label.startswith("xn--")):
        raise TargetRefused("the host is no valid name")
    return label


def _check(host: str, address: Address | None, port: int) -> None:
    if port not in PORTS:
        raise TargetRefused(f"port {port} is not one of {', '.join(str(one) for one in sorted(PORTS))}")
    if address is not None:
        kind = _special(address)
        if kind is not None:
            raise TargetRefused(f"the host is {kind} address")
        return
    labels = host.split(".")
    if len(labels) == 1 and host not in _INSIDE:
        raise TargetRefused("the host is a single word, which only a local network can resolve")
    if any(".".join(labels[start:]) in _INSIDE for start in range(len(labels))):
        raise TargetRefused("the host is a name of this machine or of a private network")


def _special(address: Address) -> str | None:
    """The kind of an address that is not a public host's."""
    if isinstance(address, IPv4Address):
        kind = next((kind for network, kind in _SPECIAL_4 if address in network), None)
    else:
        kind = next((kind for network, kind in _SPECIAL_6 if address in network), None)
        if kind is None and address.scope_id is not None:
            kind = "a zoned"
        if kind is None and (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE:
            kind = "an ISATAP"
        if kind is None and address not in _GLOBAL_UNICAST:
            kind = "a reserved"
    return kind if kind is not None or address.is_global else "a special"  # what a newer Python knows of
