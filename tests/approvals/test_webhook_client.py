"""One POST to a webhook's receiver, against real servers on loopback that behave and that do not."""

import asyncio
import gzip
import ipaddress
import json
import random
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from approvals import targets, webhook, webhook_client
from approvals.webhook_client import BODY_MAX_BYTES, Limits, Posted, post
from tests.approvals.test_targets import TABLE

NAME = "hooks.example.com"
CANARY = "canary-4711"
SHORT = Limits(total_s=0.4, connect_s=0.4, body_s=0.4)
PATIENT_S = 20.0  # acceptance: whatever a receiver does, it ends by then
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]


class Receiver:
    """A server on loopback: what came, and how many connected."""

    def __init__(self, behave: Behaviour | bytes) -> None:
        self._behave = behave
        self.port = self.connects = self.bytes_out = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.names: list[str] = []  # SNI
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, reader: Reader, writer: Writer) -> None:
        self.connects += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
            if isinstance(self._behave, bytes):
                writer.write(self._behave)
                await writer.drain()
            else:
                await self._behave(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            self._tasks.discard(task)
            writer.close()

    async def flood(self, writer: Writer, piece: bytes, *, most: int = 1 << 30) -> None:
        """Write until the other side has had enough."""
        while self.bytes_out < most:
            writer.write(piece)
            await writer.drain()
            self.bytes_out += len(piece)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, host: str = NAME, path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def receiver(behave: Behaviour | bytes = OK, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    made = Receiver(behave)
    if tls:
        tls.sni_callback = lambda _socket, name, _context: made.names.append(name)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            async with asyncio.timeout(PATIENT_S):
                yield made
        finally:
            await made.stop()


class Names:
    """A resolver that answers what it was told, one answer after the other, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


HERE = ["127.0.0.1"]


async def send(url: str, names: Names | None = None, **options: Any) -> Posted:
    headers = {"webhook-id": "msg_1", **options.pop("headers", {})}
    return await post(url, options.pop("body", b'{"type":"x"}'), headers, resolve=names or Names(HERE), **options)


@pytest.fixture(autouse=True)
def _permitted(settings) -> None:  # type: ignore[no-untyped-def]
    settings.WEBHOOK_HOSTS = [NAME]


# --- what is sent ---------------------------------------------------------------------------------------------------


async def test_the_body_and_the_headers_arrive_as_they_are_and_the_answer_comes_back() -> None:
    said = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\nRetry-After: 7\r\n\r\nhello"
    async with receiver(said) as there:
        names = Names(HERE)
        body = webhook.body(webhook.PENDING, at=datetime.now(UTC))
        told = await send(
            there.url(path="/a/b?c=%20d&e=f'g"), names, body=body, headers={"webhook-signature": "v1,x v1,y"}
        )
        assert told == Posted(202, b"hello", "7")
        assert names.asked == [(NAME, there.port)]
        assert there.bodies == [body]
        line, *headers = there.heads[0].decode().strip().split("\r\n")
        assert line == "POST /a/b?c=%20d&e=f'g HTTP/1.1"
        assert {header.lower() for header in headers} == {
            f"host: {NAME}:{there.port}", "user-agent: countersign", "accept: */*", "accept-encoding: identity",
            "connection: close", "content-type: application/json", "webhook-id: msg_1",
            "webhook-signature: v1,x v1,y", f"content-length: {len(body)}",
        }  # fmt: skip


async def test_a_permitted_address_needs_no_name(settings) -> None:  # type: ignore[no-untyped-def]
    async with receiver() as there:
        settings.WEBHOOK_HOSTS = [f"127.0.0.1:{there.port}"]
        names = Names()
        assert await send(there.url("127.0.0.1"), names) == Posted(200, b"ok")
        assert names.asked == []


async def test_the_next_address_is_tried_where_the_first_cannot_be_connected_to() -> None:
    async with receiver() as there:
        assert (await send(there.url(), Names(["::1", "127.0.0.1"]))).status == 200
        assert (there.connects, len(there.bodies)) == (1, 1)


async def test_after_the_request_has_left_no_other_address_gets_it() -> None:
    async def hang_up(_reader: Reader, writer: Writer) -> None:
        writer.transport.abort()

    async with receiver(hang_up) as there:
        assert (await send(there.url(), Names(["127.0.0.1"] * 3))).status is None
        assert there.connects == 1


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as there:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url("127.0.0.1"))
        assert (await send(there.url())).status == 200
        assert (proxy.connects, there.connects) == (0, 1)


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for NAME and 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    ours = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(ours), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def served(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def test_sni_host_and_certificate_stay_with_the_name(served: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async with receiver(tls=served) as there:
        assert (await send(there.url(scheme="https"), tls=trusting)).status == 200
        assert there.names == [NAME]
        assert f"host: {NAME}:{there.port}\r\n".encode() in there.heads[0].lower()


async def test_a_certificate_for_another_name_gets_nothing(
    served: ssl.SSLContext, trusting: ssl.SSLContext, settings: Any
) -> None:
    settings.WEBHOOK_HOSTS = ["other.example.com"]
    async with receiver(tls=served) as there:
        told = await send(there.url("other.example.com", f"/{CANARY}", "https"), tls=trusting)
        assert (told.status, told.refused) == (None, False)
        assert told.why.startswith("TLS: Hostname mismatch") and CANARY not in told.why
        assert there.heads == []


async def test_a_certificate_that_nobody_vouches_for_gets_nothing(served: ssl.SSLContext) -> None:
    async with receiver(tls=served) as there:
        assert (await send(there.url(scheme="https"))).why == "TLS: self-signed certificate"
        assert there.heads == []


async def test_an_address_is_checked_against_its_certificate(
    served: ssl.SSLContext, trusting: ssl.SSLContext, settings: Any
) -> None:
    settings.WEBHOOK_HOSTS = ["127.0.0.1"]
    async with receiver(tls=served) as there:
        assert (await send(there.url("127.0.0.1", scheme="https"), tls=trusting)).status == 200


async def test_plain_http_where_tls_is_spoken_and_the_other_way_round(served: ssl.SSLContext) -> None:
    async with receiver(tls=served) as there:
        assert (await send(there.url())).status is None
    async with receiver() as there:
        assert (await send(there.url(scheme="https"), limits=SHORT)).status is None


# --- what is not connected to ---------------------------------------------------------------------------------------


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a connection was asked for; none is made."""
    asked: list[str] = []

    async def connect_tcp(remote_host: str, remote_port: int, **_: Any) -> None:
        asked.append(f"{remote_host} {remote_port}")
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    return asked


@pytest.fixture
def guarded(settings: Any) -> None:
    settings.WEBHOOK_HOSTS = []


@pytest.mark.usefixtures("guarded")
async def test_a_refused_url_is_neither_resolved_nor_connected_to(connected: list[str]) -> None:
    names = Names(["93.184.216.34"])
    for _, url in TABLE:
        told = await send(url, names)
        assert (told.status, told.refused) == (None, True), url
        assert told.why
    assert (names.asked, connected) == ([], [])


INSIDE = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fe80::1%lo", "fd00::1", "0.0.0.0"]
INSIDE += ["64:ff9b::7f00:1", "2002:7f00:1::1", "100.64.0.1", "224.0.0.1", "nonsense", ""]


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("inside", INSIDE)
async def test_a_name_that_leads_inside_is_refused_even_among_public_addresses(
    connected: list[str], inside: str
) -> None:
    for answer in ([inside], ["93.184.216.34", inside], [inside, "2606:4700::1111"], ["93.184.216.34"] * 9 + [inside]):
        told = await send(f"https://{NAME}/{CANARY}", Names(answer))
        assert (told.status, told.refused) == (None, True)
        assert told.why.startswith(f"{NAME} leads to an address that may not be called: it is ")
        assert CANARY not in told.why
    assert connected == []


@pytest.mark.usefixtures("guarded")
async def test_the_address_that_was_checked_is_the_one_connected_to(connected: list[str]) -> None:
    """Rebinding: a second look-up would lead inside, so there is none."""
    names = Names(["93.184.216.34", "2606:4700::1111"], ["127.0.0.1"])
    told = await send(f"https://{NAME}:8443/", names)
    assert connected == ["93.184.216.34 8443", "2606:4700::1111 8443"]
    assert names.asked == [(NAME, 8443)]
    assert (told.status, told.refused, told.why) == (None, False, "connection failed: Connection refused")
    assert (await send(f"https://{NAME}:8443/", names)).refused
    assert len(connected) == 2


@pytest.mark.usefixtures("guarded")
async def test_at_most_some_addresses_are_tried(connected: list[str]) -> None:
    await send(f"https://{NAME}/", Names([f"93.184.216.{last}" for last in range(100)]))
    assert len(connected) == webhook_client.ADDRESSES_TRIED


async def test_a_canary_on_loopback_hears_nothing_until_it_is_permitted(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver() as canary:
        settings.WEBHOOK_HOSTS = []
        monkeypatch.setattr(targets, "PORTS", {*targets.PORTS, canary.port})  # so that its port is no reason
        hosts = "127.0.0.1 127.1 0x7f.1 0177.0.0.1 2130706433 0.0.0.0 0 [::1] [::ffff:127.0.0.1] localhost a.localhost"
        for host in [
            *hosts.split(),
            "127.0.0.1.",
            "１２７.0.0.1",
            "%31%32%37.0.0.1",
            "u@127.0.0.1",
            "[64:ff9b::7f00:1]",
        ]:
            assert (await send(canary.url(host))).refused, host
        for answer in (["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]):
            assert (await send(canary.url(NAME), Names(answer))).refused
        assert canary.connects == 0
        settings.WEBHOOK_HOSTS = [f"{NAME}:{canary.port}"]
        assert (await send(canary.url(NAME))).status == 200
        assert canary.connects == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["there", "http://169.254.169.254/", "http://[::1", "http://a b\x7f", "//", "", "é"]
)
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int, location: str) -> None:
    async with receiver() as there:
        leads = there.url() if location == "there" else location
        said = f"HTTP/1.1 {status} Moved\r\nlocation: {leads}\r\ncontent-length: 0\r\n\r\n".encode()
        async with receiver(said) as first:
            told = await send(first.url())
            assert first.connects == 1
        assert there.connects == 0
        assert told.status in (status, None if location == "http://a b\x7f" else status)


# --- what receivers do ----------------------------------------------------------------------------------------------


async def test_an_answer_is_read_as_far_as_it_is_worth() -> None:
    async def endless(_reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
        await there.flood(writer, b"x" * 65536)

    async with receiver(endless) as there:
        told = await send(there.url())
        assert (told.status, told.body) == (200, b"x" * BODY_MAX_BYTES)
        async with asyncio.timeout(PATIENT_S):
            while there._tasks:  # the receiver notices that nobody listens
                await asyncio.wait(there._tasks)
        assert there.bytes_out < 64 << 20


async def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(30 << 20))
    said = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    async with receiver(said + bomb) as there:
        told = await send(there.url())
        assert (told.status, told.body) == (200, bomb[:BODY_MAX_BYTES])


async def _silent(reader: Reader, _writer: Writer) -> None:
    await reader.read()


async def _loris(_reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _informational(_reader: Reader, writer: Writer) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize("behave", [_silent, _loris, _informational])
async def test_a_receiver_that_never_comes_to_the_point_is_left(behave: Behaviour) -> None:
    async with receiver(behave) as there:
        told = await send(there.url(path=f"/{CANARY}"), limits=SHORT)
        assert told == Posted(why="no answer in time")


async def test_headers_without_end_are_not_kept() -> None:
    async def flood(_reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await there.flood(writer, b"x-%s: y\r\n" % (b"a" * 1000) * 64)

    async with receiver(flood) as there:
        assert (await send(there.url())).why == "what answered is not HTTP, or broke off"
        assert there.bytes_out < 64 << 20


async def test_a_body_that_drips_does_not_take_back_the_status() -> None:
    async def drip(reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await reader.read()

    async with receiver(drip) as there:
        assert await send(there.url(), limits=Limits(body_s=0.2)) == Posted(200, b"abc")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"", None),
        (b"HTTP/1.1", None),
        (b"HTTP/1.1 200", None),
        (b"HTTP/1.1 abc OK\r\n\r\n", None),
        (b"HTTP/3 200 OK\r\n\r\n", None),
        (b"SSH-2.0-OpenSSH_9.9\r\n", None),
        (b"\x16\x03\x01\x02\x00", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", None),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", 200),
        (b"HTTP/1.1 204 No Content\r\n\r\nabc", 204),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc", None),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, 200),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", 410),
        (b"HTTP/1.1 999 \r\ncontent-length: 0\r\n\r\n", 999),
        (b"HTTP/1.1 500 \xff\xfe\r\nx: \xff\xfe\r\nretry-after: \xff\r\ncontent-length: 0\r\n\r\n", 500),
        (b"HTTP/1.1 503 x\r\nretry-after: " + b"9" * 5000 + b"\r\ncontent-length: 0\r\n\r\n", 503),
    ],
)
async def test_whatever_answers_nothing_is_raised(said: bytes, status: int | None) -> None:
    async with receiver(said) as there:
        told = await send(there.url(path=f"/{CANARY}"))
        assert told.status == status
        assert bool(told.why) == (status is None)
        assert CANARY not in repr(told)
        assert len(told.retry_after or "") <= 100


async def test_noise_is_never_an_error_of_ours() -> None:
    chance = random.Random(4711)

    async def noise(_reader: Reader, writer: Writer) -> None:
        said = b"HTTP/1.1 200 OK\r\n" * chance.randint(0, 1) + chance.randbytes(chance.randint(0, 400))
        for _ in range(chance.randint(0, 3)):
            said += chance.choice(
                [b"\r\n", b"\r\n\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"a: b\r\n", b"content-length: 5\r\n"]
            )
        writer.write(said)
        await writer.drain()

    async with receiver(noise) as there:
        for _ in range(150):
            told = await send(there.url(), limits=SHORT)
            assert told.status is not None or told.why


async def test_a_closed_port_a_missing_name_and_a_header_that_cannot_be_sent_are_said() -> None:
    async with receiver() as there:
        pass
    assert (await send(there.url())).why == "connection failed: Connection refused"
    assert (await send(there.url(), Names([]))).why == "its name cannot be resolved"

    async def lost(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, f"no {CANARY}")

    assert (await post(there.url(), b"{}", {}, resolve=lost)).why == "its name cannot be resolved"
    async with receiver() as there:
        told = await send(there.url(), headers={"x": f"{CANARY}\r\ny: z"})
        assert (told.status, told.why) == (None, "the request failed: LocalProtocolError")
        assert there.heads == []


async def test_a_look_up_that_hangs_ends_with_the_time() -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    assert (await post(f"http://{NAME}/", b"{}", {}, resolve=hang, limits=SHORT)).why == "no answer in time"


async def test_being_stopped_is_passed_on_and_closes_the_connection() -> None:
    came = asyncio.Event()

    async def wait(reader: Reader, _writer: Writer) -> None:
        came.set()
        await reader.read()

    async with receiver(wait) as there:
        task = asyncio.create_task(send(there.url()))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while there._tasks:
            await asyncio.wait(there._tasks)


async def test_names_are_resolved_by_the_system_in_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        seen.append((host, port, threading.current_thread().name, threading.current_thread().daemon))
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1111", port, 0, 0))
        return [six, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port)), six]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert await webhook_client.resolve(NAME, 443) == ["2606:4700::1111", "93.184.216.34"]
    assert seen == [(NAME, 443, "webhook-lookup", True)]


async def test_look_ups_that_hang_end_neither_the_next_one_nor_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    release, hung = threading.Event(), 40

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        if host.startswith("hangs"):
            release.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "late")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        hanging = [asyncio.create_task(webhook_client.resolve(f"hangs{n}.example.com", 443)) for n in range(hung)]
        async with asyncio.timeout(PATIENT_S):
            assert await webhook_client.resolve(NAME, 443) == ["93.184.216.34"]
        monkeypatch.setattr(webhook_client, "LOOKUPS", hung)
        with pytest.raises(socket.gaierror):
            await webhook_client.resolve(NAME, 443)
        for task in hanging[:10]:
            task.cancel()
    finally:
        release.set()
    ended = await asyncio.gather(*hanging, return_exceptions=True)
    assert {type(one) for one in ended} == {asyncio.CancelledError, socket.gaierror}


# --- the example receiver -------------------------------------------------------------------------------------------


async def test_the_example_receiver_takes_what_we_send_once(settings: Any) -> None:
    example = Path(__file__).resolve().parents[2] / "docs" / "webhook_receiver.py"
    secret = webhook.new_secret()
    process = subprocess.Popen(
        [sys.executable, str(example), "0"], env={"WEBHOOK_SECRET": secret}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout and process.stderr
        address = (await asyncio.to_thread(process.stderr.readline)).split()[-1]
        settings.WEBHOOK_HOSTS = [address.removeprefix("http://")]
        body = webhook.body(webhook.PENDING, at=datetime.now(UTC))
        message = webhook.message_id(uuid4())
        for signed_with, status in (
            ([secret], 204),
            ([webhook.new_secret(), secret], 204),
            ([webhook.new_secret()], 401),
        ):
            headers = webhook.headers(message, body, at=datetime.now(UTC), signed_with=signed_with)
            assert (await post(f"{address}/hook", body, headers)).status == status
        headers = webhook.headers("msg_last", body, at=datetime.now(UTC), signed_with=[secret])
        assert (await post(f"{address}/hook", body, headers)).status == 204
    finally:
        process.terminate()
        out, err = await asyncio.to_thread(process.communicate, timeout=10)
    assert [json.loads(line) for line in out.splitlines()] == [json.loads(body)] * 2
    assert "Traceback" not in err
