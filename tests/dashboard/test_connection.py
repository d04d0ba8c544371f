"""The connection check says in plain words what answers at a provider's address."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dashboard import connection, diagnosis
from streams.models import Provider
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
Serve = Callable[..., str]


@pytest.fixture
def asked() -> list[tuple[str, str, str]]:
    """Method, path and credential of every request that came."""
    return []


@pytest.fixture
def serve(asked: list[tuple[str, str, str]]) -> Iterator[Serve]:
    """Answer every request with one status, type and body; the address comes back."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(status: int, kind: str = "application/json", body: bytes = b"{}", **headers: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                credential = self.headers.get("x-api-key") or self.headers.get("authorization") or ""
                asked.append((self.command, self.path, credential))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                for name, value in headers.items():
                    if name != "date":
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_HEAD = answer

            def date_time_string(self, timestamp: float | None = None) -> str:
                return headers.get("date") or super().date_time_string(timestamp)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def account(base_url: str, kind: str = "mindra", secret: str = "canary-key-4711") -> Provider:
    row = factories.provider(kind=kind, base_url=base_url)
    row.set_secret(secret)
    row.save()
    return row


@pytest.mark.parametrize(
    ("kind", "status", "content", "code"),
    [
        ("mindra", 404, "application/json", "ok"),
        ("mindra", 404, "text/html; charset=utf-8", "wrong_path"),
        ("mindra", 401, "application/json", "credential"),
        ("mindra", 403, "text/html", "credential"),
        ("mindra", 200, "text/event-stream", "ok"),
        ("mindra", 200, "text/html", "wrong_path"),
        ("mindra", 200, "application/json", "not_a_stream"),
        ("mindra", 429, "application/json", "ok"),
        ("mindra", 302, "text/html", "redirect"),
        ("mindra", 503, "text/html", "server_error"),
        ("agui", 405, "application/json", "ok"),
        ("agui", 405, "text/plain", "ok"),
        ("agui", 404, "application/json", "wrong_path"),
        ("agui", 401, "application/json", "credential"),
        ("agui", 200, "text/html", "wrong_path"),
        ("agui", 200, "application/json", "not_a_stream"),
        ("agui", 422, "application/json", "ok"),
        ("mindra", 407, "text/html", "proxy"),
        ("mindra", 502, "text/html", "gateway"),
        ("agui", 504, "text/html", "gateway"),
        ("middesk", 401, "application/json", "credential"),
        ("middesk", 403, "application/json", "credential"),
        ("middesk", 404, "application/json", "wrong_path"),
        ("middesk", 404, "text/html", "wrong_path"),
        ("middesk", 200, "text/html", "wrong_path"),
        ("middesk", 200, "text/event-stream", "not_the_api"),
        ("middesk", 200, "application/json", "not_the_api"),
        ("middesk", 204, "application/json", "not_the_api"),
        ("middesk", 422, "application/json", "not_the_api"),
        ("middesk", 429, "application/json", "ok"),
        ("middesk", 302, "text/html", "redirect"),
        ("middesk", 500, "application/json", "server_error"),
    ],
)
def test_what_an_answer_means(
    serve: Serve, asked: list[tuple[str, str, str]], kind: str, status: int, content: str, code: str
) -> None:
    found = connection.check(account(serve(status, content), kind))
    assert found.code == code, found
    assert str(status) in found.detail
    assert "canary" not in found.detail
    [(method, _, credential)] = asked  # one request, and it changes nothing
    assert method == "GET"
    assert "canary-key-4711" in credential


def test_a_missing_secret_is_told_from_a_wrong_one(serve: Serve) -> None:
    url = serve(401)
    assert "does not accept" in connection.check(account(url)).detail
    assert "none is set" in connection.check(account(url, secret="")).detail


def test_no_redirect_is_followed(serve: Serve, asked: list[tuple[str, str, str]]) -> None:
    found = connection.check(account(serve(307, location="http://127.0.0.1:9/elsewhere")))
    assert (found.code, len(asked)) == ("redirect", 1)
    assert "http://127.0.0.1:9/elsewhere" in found.detail


def test_nothing_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = connection.check(account(f"http://127.0.0.1:{closed.getsockname()[1]}"))
    assert found.code == "refused"
    assert "nothing listens at 127.0.0.1:" in found.detail


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = connection.check(account("https://agents.example"))
    assert (found.code, found.detail) == ("dns", "the name agents.example cannot be resolved")


def test_something_that_is_not_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            peer, _ = server.accept()
            peer.recv(4096)
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        found = connection.check(account(f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join(5)
    assert found.code == "not_http"


def test_something_that_takes_the_connection_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = connection.check(account(f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert found.code == "timeout"
    assert "does not answer within 0.2 s" in found.detail


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WHOLE_S", 0.3)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.02):
                    try:
                        peer.sendall(b"X-More: and more\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        found = connection.check(account(f"http://127.0.0.1:{server.getsockname()[1]}"))
        over.set()
        thread.join(5)
    assert (found.code, "answers too slowly" in found.detail) == ("timeout", True)


def test_a_redirect_to_nonsense_is_a_redirect(serve: Serve) -> None:
    found = connection.check(account(serve(302, location="http://[nonsense")))
    assert found.code == "redirect"
    assert "http://[nonsense" in found.detail


@pytest.mark.parametrize("status", [401, 302, 407, 502, 503])
def test_a_proxy_that_names_itself_is_named(serve: Serve, status: int) -> None:
    assert "a proxy (1.1 corporate-gate)" in connection.check(account(serve(status, via="1.1 corporate-gate"))).detail


# --- lists of agents ------------------------------------------------------------------------------------------------


def test_middesk_is_asked_for_its_agents_and_for_no_run(serve: Serve, asked: list[tuple[str, str, str]]) -> None:
    agents = b'{"data": [{"id": "a", "type": "cip_orchestrator"}, {"type": "tin\xe2\x80\xae"}, {"type": 5}]}'
    for base in ("", "/", "/v1", "/v1/", "/prefix/v1"):
        found = connection.check(account(serve(200, body=agents) + base, "middesk"))
        assert found.code == "ok"
        assert found.detail == "it answers and takes the key; its agents: cip_orchestrator, tin⟨U+202E⟩"
    assert {(method, credential) for method, _, credential in asked} == {("GET", "Bearer canary-key-4711")}
    assert [path for _, path, _ in asked] == ["/v1/agents"] * 4 + ["/prefix/v1/agents"]


def test_an_account_without_agents_is_told_so(serve: Serve) -> None:
    assert "offers no agents" in connection.check(account(serve(200, body=b'{"data": []}'), "middesk")).detail


def test_a_list_that_never_ends_is_read_only_so_far(serve: Serve) -> None:
    body = b'{"data": [' + b'{"type": "x"},' * 100_000 + b"{}]}"
    assert connection.check(account(serve(200, body=body), "middesk")).code == "not_the_api"


# --- base URLs that go on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "base", "better"),
    [
        ("mindra", "/v1", ""),
        ("mindra", "/api/v1/", ""),
        ("mindra", "/p/v1/workflows/refund/run", "/p"),
        ("middesk", "/v1/runs", "/v1"),
        ("middesk", "/v1/agents/", "/v1"),
    ],
)
def test_a_base_url_that_ends_with_the_path_of_a_call_is_shortened(
    serve: Serve, kind: str, base: str, better: str
) -> None:
    url = serve(404)
    found = connection.check(account(url + base, kind))
    assert found.code == "base_url"
    assert found.detail.endswith(f"make it {url}{better}")


def test_a_base_url_that_works_is_left_alone_however_it_ends(serve: Serve) -> None:
    assert connection.check(account(serve(200, "text/event-stream") + "/v1")).ok
    assert connection.check(account(serve(405) + "/v1/runs", "agui")).ok


# --- TLS ------------------------------------------------------------------------------------------------------------


def test_tls_where_none_is_spoken(serve: Serve) -> None:
    found = connection.check(account(serve(200).replace("http:", "https:")))
    assert found.code == "tls"
    assert "it may want http" in found.detail


class Signer:
    """An authority of our own, which the machine trusts for a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority for tests")])
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._sign(self.name, self.key, self.key, own=True).public_bytes(PEM))

    def _sign(
        self, subject: x509.Name, key: Any, signer: Any, *, own: bool = False, host: str = "", begins_in: int = -9
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins_in))
            .not_valid_after(now + timedelta(days=begins_in + 10 if not own else 10))
            .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if own:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            made = made.add_extension(usage, critical=True)
        if host:
            name = x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
            made = made.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return made.sign(signer, hashes.SHA256())

    def certificate(self, host: str = "127.0.0.1", begins_in: int = -1) -> Path:
        """A server's key and certificate, valid for ten days from a day on."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a server for tests")])
        path = self.folder / f"{host}{begins_in}.pem"
        secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(secret + self._sign(name, key, self.key, host=host, begins_in=begins_in).public_bytes(PEM))
        return path


PEM = serialization.Encoding.PEM


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
def trusted(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Signer:
    context = ssl.create_default_context(cafile=str(signer.file))
    monkeypatch.setattr(connection, "tls_context", lambda: context)
    return signer


@contextmanager
def over_tls(certificate: Path) -> Iterator[str]:
    """A server that shakes hands and says 404 to one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve_one() -> None:
            peer, _ = server.accept()
            try:
                with context.wrap_socket(peer, server_side=True) as inside:
                    inside.recv(65_536)
                    inside.sendall(
                        b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n"
                    )
                    inside.recv(1)
            except (ssl.SSLError, OSError):
                peer.close()

        thread = threading.Thread(target=serve_one)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)


def test_a_certificate_that_is_trusted_is_no_problem(trusted: Signer) -> None:
    with over_tls(trusted.certificate()) as url:
        assert connection.check(account(url)).code == "ok"


def test_a_certificate_that_nobody_vouches_for(signer: Signer) -> None:
    with over_tls(signer.certificate()) as url:
        found = connection.check(account(url))
    assert found.code == "tls"
    assert "nobody whom this machine trusts vouches for it" in found.detail
    assert "A proxy that opens TLS" in found.detail


def test_a_certificate_that_signed_itself(signer: Signer) -> None:
    key = signer.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both = signer.folder / "both.pem"
    both.write_bytes(key + signer.file.read_bytes())
    with over_tls(both) as url:
        found = connection.check(account(url))
    assert found.code == "tls"
    assert "self-signed" in found.detail.replace("self signed", "self-signed")


@pytest.mark.parametrize(("begins_in", "said"), [(-30, "certificate has expired"), (5, "certificate is not yet valid")])
def test_a_certificate_that_is_not_valid_now_asks_after_the_clock(trusted: Signer, begins_in: int, said: str) -> None:
    with over_tls(trusted.certificate(begins_in=begins_in)) as url:
        found = connection.check(account(url))
    assert found.code == "tls"
    assert f"{said}. Or is this machine's clock wrong?" in found.detail


@pytest.mark.parametrize("name", ["127.0.0.2", "agents.example"])
def test_a_certificate_for_another_name(trusted: Signer, name: str) -> None:
    with over_tls(trusted.certificate(name)) as url:
        found = connection.check(account(url))
    assert found.code == "tls"
    assert "it is for another name than 127.0.0.1" in found.detail


def test_plain_http_where_tls_is_spoken(trusted: Signer) -> None:
    with over_tls(trusted.certificate()) as url:
        found = connection.check(account(url.replace("https:", "http:")))
    assert found.code == "not_http"
    assert "it may want https" in found.detail


# --- doubts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "secret", "belongs"),
    [
        ("https://api.middesk.com/v1", "mk_test_1", "the sandbox"),
        ("https://API.middesk.com", "mk_test_1", "the sandbox"),
        ("https://api-sandbox.middesk.com/v1/", "mk_live_1", "production"),
        ("https://api.middesk.com/v1", "mk_live_1", ""),
        ("https://api-sandbox.middesk.com/v1", "mk_test_1", ""),
        ("https://gateway.example/middesk", "mk_test_1", ""),
    ],
)
def test_a_key_of_the_other_environment_is_warned_about_and_tried_all_the_same(
    monkeypatch: pytest.MonkeyPatch, base_url: str, secret: str, belongs: str
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = connection.check(account(base_url, "middesk", secret))
    assert found.code == "dns", "it was tried"
    assert [belongs in one for one in found.warnings] == ([True] if belongs else [])
    assert "_1" not in "".join(found.warnings)


def test_a_secret_over_plain_http_to_elsewhere_is_warned_about() -> None:
    assert "unencrypted" in diagnosis.doubts("agui", "http://agents.example", "s")[0]
    for fine in ("http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9", "https://agents.example"):
        assert diagnosis.doubts("agui", fine, "s") == ()


def test_a_clock_that_is_far_off_is_warned_about(serve: Serve) -> None:
    now = datetime.now(UTC)
    off, near = now + timedelta(hours=2), now - timedelta(minutes=4)
    assert diagnosis.clock_doubt(format_datetime(near), now) == diagnosis.clock_doubt("nonsense", now) == ()
    assert diagnosis.clock_doubt("", now) == diagnosis.clock_doubt("Mon, 01 Jan 2035 00:00:00 -0000", now) == ()
    found = connection.check(account(serve(404, date=format_datetime(off, usegmt=True))))
    assert found.ok
    assert found.warnings == ("this machine's clock is 120 minutes behind the server's",)


def test_a_proxy_that_the_environment_names_is_not_used_and_said_so(
    serve: Serve, asked: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", serve(200))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = connection.check(account(f"http://127.0.0.1:{closed.getsockname()[1]}"))
    assert (found.code, asked) == ("refused", [])
    assert found.warnings == ("the environment names a proxy for http, which is not used: calls go out directly",)
    assert connection.check(account(serve(404))).warnings == ()


def test_an_account_that_cannot_be_used_says_why(settings: Any) -> None:
    row = account("http://127.0.0.1:9")
    settings.FIELD_KEYS = ["b3RoZXIta2V5LTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
    found = connection.check(row)
    assert found.code == "configuration" and "field key" in found.detail
    assert connection.check(factories.provider(kind="gone")).code == "configuration"
