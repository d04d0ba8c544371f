"""Words for what is wrong with a connection: no name, no TLS, a proxy, a wrong key, a wrong clock. Pure, no IO."""

import email.utils
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from streams import inert

Told = tuple[str, str]  # code for programs, words for people

CLOCKS_APART: Final = timedelta(minutes=5)
NOT_YET_VALID, EXPIRED, OTHER_NAME, OTHER_ADDRESS = 9, 10, 62, 64  # X509_V_ERR_* of OpenSSL
UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21})
KEYS: Final[Mapping[str, tuple[str, str]]] = {  # docs.middesk.com/build/api-keys, read 2026-11
    "api.middesk.com": ("mk_test", "the sandbox, https://api-sandbox.middesk.com/v1"),
    "api-sandbox.middesk.com": ("mk_live", "production, https://api.middesk.com/v1"),
}
CALLS: Final[Mapping[str, re.Pattern[str]]] = {  # paths of single calls, which a base URL ends before
    "mindra": re.compile(r"(?:/api)?/v1(?:/workflows(?:/.*)?)?/?$"),
    "middesk": re.compile(r"(?<=/v1)/(?:runs|agents|threads|actions|webhooks)(?:/.*)?$"),
}


# --- an answer came -------------------------------------------------------------------------------------------------


def refused(status: int, headers: Mapping[str, str], location: str, *, has_secret: bool) -> Told | None:
    """What an answer says that is none of the provider's API; None where it may be one."""
    via = inert.one_line(headers.get("via", ""), 80)
    through = f" It came through a proxy ({via})." if via else ""
    if status in (401, 403):
        why = "does not accept the secret" if has_secret else "wants a secret, and none is set"
        return "credential", f"it answers, but {why} ({status}).{through}"
    if status == 407:
        return "proxy", f"a proxy in between wants to know who we are (407): it has to let our calls pass.{through}"
    if 300 <= status < 400:
        to = inert.one_line(location or "nowhere")
        return "redirect", (
            f"it sends us to {to} ({status}): set the base URL to the final address. "
            f"If that is a page to sign in, a proxy stands in between.{through}"
        )
    if status in (502, 504):
        return "gateway", f"a proxy answers, and what stands behind it does not ({status}); try again later.{through}"
    if status >= 500:
        return "server_error", f"it answers with an error of its own ({status}); try again later.{through}"
    return None


def content_type(headers: Mapping[str, str]) -> str:
    """The type that an answer says it has, in words that cannot hide anything."""
    return inert.one_line(headers.get("content-type", "no content type").split(";")[0].strip().lower(), 60)


def too_long(kind: str, base_url: str) -> Told | None:
    """Whether the base URL goes on into the path of a single call."""
    tail = CALLS[kind].search(base_url) if kind in CALLS else None
    if tail is None:
        return None
    return "base_url", f"the base URL ends with {tail[0]}, the path of single calls: make it {base_url[: tail.start()]}"


def agents_told(agents: list[Any]) -> str:
    """What may be started, by the types that a start names."""
    types = [one["type"] for one in agents if isinstance(one, dict) and isinstance(one.get("type"), str)]
    if not agents:
        return "it answers and takes the key, but offers no agents"
    named = ", ".join(inert.one_line(one, 40) for one in types[:6])
    return f"it answers and takes the key; its agents: {named or 'unnamed'}{', …' if len(types) > 6 else ''}"


# --- none came ------------------------------------------------------------------------------------------------------


def unreached(exc: Exception, url: str, *, timeout_s: float, whole_s: float) -> Told:
    """Why no answer came."""
    at = httpx.URL(url)
    where = f"{at.host}:{at.port or {'http': 80, 'https': 443}.get(at.scheme, '')}"
    causes = list(_causes(exc))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            later = " now: no name server answers" if cause.errno == socket.EAI_AGAIN else ""
            return "dns", f"the name {at.host} cannot be resolved{later}"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "tls", f"the certificate of {where} is not accepted: {_certificate(cause, at.host)}"
        if isinstance(cause, ssl.SSLError):
            return "tls", f"{where} does not speak TLS as it should ({_handshake(cause)})"
        if isinstance(cause, ConnectionRefusedError):
            return "refused", f"nothing listens at {where}"
    if isinstance(exc, httpx.ConnectTimeout):
        return "timeout", f"{where} cannot be reached: no connection within {timeout_s:g} s; a firewall may drop it"
    if isinstance(exc, httpx.TimeoutException):
        return "timeout", f"{where} takes the connection, but does not answer within {timeout_s:g} s"
    if isinstance(exc, TimeoutError):
        return "timeout", f"{where} answers too slowly: not done within {whole_s:g} s"
    if isinstance(exc, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        hint = "; it may want https" if at.scheme == "http" else ""
        return "not_http", f"{where} closes the connection or does not speak HTTP{hint}"
    return "unreachable", f"{where} cannot be reached: {inert.one_line(str(exc)) or type(exc).__name__}"


def _certificate(cause: ssl.SSLCertVerificationError, host: str) -> str:
    said = cause.verify_message or "it does not verify"
    match cause.verify_code:
        case code if code in (NOT_YET_VALID, EXPIRED):
            return f"{said}. Or is this machine's clock wrong?"
        case code if code in (OTHER_NAME, OTHER_ADDRESS):
            return f"it is for another name than {host}"
        case code if code in UNTRUSTED:
            return (
                f"nobody whom this machine trusts vouches for it ({said}). A proxy that opens TLS looks like this, too"
            )
    return said


def _handshake(cause: ssl.SSLError) -> str:
    reason = cause.reason or "the handshake failed"
    plain = reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
    return f"{reason}; it may want http" if plain else reason


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The error and what it came from: httpx and httpcore wrap the socket's own."""
    waiting: list[BaseException | None] = [exc]
    while waiting:
        seen = waiting.pop()
        if seen is None:
            continue
        yield seen
        waiting.append(seen.__cause__ or seen.__context__)
        if isinstance(seen, BaseExceptionGroup):  # one for each address of the name
            waiting += seen.exceptions


# --- doubts ---------------------------------------------------------------------------------------------------------


def doubts(kind: str, base_url: str, secret: str) -> tuple[str, ...]:
    """What looks wrong in an account as it stands, before anything is sent."""
    said, at = [], httpx.URL(base_url)
    wrong, belongs = KEYS.get(at.host, ("", "")) if kind == "middesk" else ("", "")
    if wrong and secret.startswith(wrong):
        said.append(f"a key that begins with {wrong} belongs to {belongs}")
    if secret and at.scheme == "http" and not _near(at.host):
        said.append(f"the secret goes to {at.host} unencrypted: use https")
    if not secret and kind in ("mindra", "middesk"):
        said.append("no secret is set")
    return tuple(said)


def clock_doubt(date: str, now: datetime) -> tuple[str, ...]:
    """Whether our clock and the server's (its Date header) are so far apart that certificates and times go wrong."""
    try:
        theirs = email.utils.parsedate_to_datetime(date)
        apart = now - theirs
    except (ValueError, TypeError):  # none, or none that can be read; without a zone it says nothing
        return ()
    if abs(apart) <= CLOCKS_APART:
        return ()
    minutes = round(abs(apart) / timedelta(minutes=1))
    way = "ahead of" if apart > timedelta() else "behind"
    return (f"this machine's clock is {minutes} minutes {way} the server's",)


def proxy_doubt(scheme: str, named: Mapping[str, str]) -> tuple[str, ...]:
    """Where nothing is reached, although the environment names a proxy: our calls do not take it."""
    return (
        (f"the environment names a proxy for {scheme}, which is not used: calls go out directly",)
        if scheme in named or "all" in named
        else ()
    )


def _near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
