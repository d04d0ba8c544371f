"""Which URLs and addresses a webhook may call, in every notation that somebody's parser would follow."""

import socket
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from approvals import targets
from approvals.targets import TargetRefused, read, refuse_address, refuse_reason

REFUSED = {
    "loopback": """
        http://127.0.0.1/ https://127.0.0.1:8443/hook http://127.1.2.3/ http://127.255.255.255/ http://[::1]/
        https://[::1]:8443/hook http://[0:0:0:0:0:0:0:1]/ http://[0000:0000::0001]/""",
    "private, link-local, shared": """
        http://10.0.0.1/ http://10.255.255.255/ http://172.16.0.1/ http://172.31.255.254/ http://192.168.1.1/
        http://169.254.1.1/ http://169.254.169.254/latest/meta-data/ http://100.64.0.1/ http://100.127.255.255/
        http://100.100.100.200/latest/ http://168.63.129.16/ http://192.0.0.192/opc/v2/""",
    "of no host": """
        http://0.0.0.0/ http://0.1.2.3/ http://192.0.0.1/ http://192.0.2.1/ http://198.51.100.7/ http://203.0.113.9/
        http://192.88.99.1/ http://198.18.0.1/ http://198.19.255.255/ http://224.0.0.1/ http://239.255.255.250/
        http://240.0.0.1/ http://255.255.255.255/""",
    "IPv4 in odd notation": """
        http://2130706433/ http://0177.0.0.1/ http://0177.0.0.01/ http://0x7f.1/ http://0x7f000001/ http://0x7F.0x0.0x0.0x1/
        http://017700000001/ http://127.1/ http://127.0.1/ http://0/ http://0x/ http://127.0.0.1./ http://127.0.0.0x1/
        http://0127.0.0.1/ http://00000127.0.0.1/ http://8.8.8/ http://134744072/ http://8.8.8.0x8/ http://8.8.8.08/
        http://256.256.256.256/ http://1.2.3.4.5/ http://4294967296/ http://3232235777/ http://0xa9fea9fe/
        http://0251.0376.0251.0376/ http://169.254.43518/ http://.127.0.0.1/ http://127..0.0.1/""",
    "look-alikes": """
        http://①②⑦.⓪.⓪.①/ http://１２７.0.0.1/ http://127。0。0。1/ http://127．0．0．1/ http://127｡0｡0｡1/ http://ⓛocalhost/
        http://ｌｏｃａｌｈｏｓｔ/ http://loca\u017fhost.com/ http://\u2139nternal.example.com/ http://example。com/
        http://metadata.goog\u017be\u2024com/ http://¹²⁷.0.0.1/ http://xn--/ http://xn--localhost-/ http://xn--a.example.com/
        http://hooks.\u212aey.com/ http://bü１.example.com/""",
    "percent": """
        http://127.0.0.1%2f@example.com/ http://%31%32%37.0.0.1/ http://%6c%6f%63alhost/ http://example.com%00.evil.com/
        http://example%2ecom/ http://127.0.0.1%3a8080/""",
    "IPv6": """
        http://[::]/ http://[fc00::1]/ http://[fd00:ec2::254]/latest/ http://[fe80::1]/ http://[febf::1]/ http://[fec0::1]/
        http://[ff02::1]/ http://[2001:db8::1]/ http://[3fff::1]/ http://[100::1]/ http://[2001:10::1]/ http://[2001:20::1]/
        http://[2001:2::1]/ http://[4000::1]/ http://[5f00::1]/ http://[200::1]/ http://[2001:1::1]/""",
    "IPv4 in IPv6": """
        http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/ http://[::ffff:8.8.8.8]/ http://[::ffff:808:808]/
        http://[::127.0.0.1]/ http://[::7f00:1]/ http://[::808:808]/ http://[::ffff:0:7f00:1]/ http://[64:ff9b::7f00:1]/
        http://[64:ff9b::808:808]/ http://[64:ff9b:1::a00:1]/ http://[2002:7f00:1::]/ http://[2002:808:808::1]/
        http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/ http://[2600::5efe:a00:1]/ http://[2600::200:5efe:a00:1]/""",
    "brackets": """
        http://[::1/ http://::1]/ http://::1/ http://[fe80::1%25eth0]/ http://[2606:4700::1111%25lo]/ http://[2606:4700::1111%lo]/
        http://[::1]evil.com/ http://[]/ http://[[::1]]/ http://[127.0.0.1]/ http://[example.com]/ http://[v1.a]/
        http://evil.com[::1]/ http://[::1].example.com/ http://[2606:4700::1111/ http://[2606:4700::1.1.1.1]/""",
    "names of the inside": """
        http://localhost/ https://LOCALHOST:8443/ http://localhost./ http://app.localhost/ http://printer.local/
        http://vault.internal/ http://metadata.google.internal/computeMetadata/v1/ http://metadata.goog/
        http://host.docker.internal:8080/ http://kubernetes.default.svc/ http://api.default.svc.cluster.local/
        http://router.home.arpa/ http://localhost.localdomain/ http://nas.lan/ http://wiki.corp/ http://redis/
        http://db:8080/ http://metadata/ http://com/""",
    "ports": """
        http://example.com:22/ http://example.com:25/ http://example.com:6379/ https://example.com:5432/ http://example.com:81/
        http://example.com:0/ http://example.com:65536/ http://example.com:99999999999/ http://example.com:080/
        http://example.com:/ http://example.com:+80/ http://example.com:-80/ http://example.com:８０/ http://example.com:80:80/
        http://example.com:8_0/ http://example.com:80a/ http://8.8.8.8:9200/ http://[2606:4700::1111]:11211/""",
    "schemes": """
        ftp://example.com/ file:///etc/passwd gopher://example.com/ javascript:alert(1) data:text/plain,hello ws://example.com/
        wss://example.com/ unix:///var/run/docker.sock dict://127.0.0.1:8080/ ldap://example.com/ //example.com/
        example.com example.com/hook /hook http:example.com http:/example.com/ http:///example.com/ http:// https://? http://:80/
        HTTPſ://example.com/ httpſ://example.com/ httpx://example.com/ http+unix://example.com/ blob:https://example.com/""",
    "malformed or in disguise": """
        http://user@example.com/ http://user:secret@example.com/ http://example.com@127.0.0.1/ http://:@example.com/
        http://example.com:80@127.0.0.1:80/ http://example.com#@127.0.0.1/ http://example.com/#top http://example.com/#
        http://127.0.0.1\\@example.com/ http://example.com\\.evil.com/ http:\\\\example.com\\ http://example.com;127.0.0.1/
        http://exa$mple.com/ http://-example.com/ http://example-.com/ http://my_hook.example.com/ http://example..com/
        http://.example.com/ http://example.com./ http://example.com../ http://*.example.com/ http://!/
        http://example.com,127.0.0.1/ http://example.com/%zz http://example.com/% http://example.com/ü http://example.com/<x>
        http://example.com/{x} http://exam\u00adple.com/ http://exam\u200bple.com/ http://\u202emoc.com/
        http://☕.example.com/""",
}  # fmt: skip
TABLE = [(kind, url) for kind, urls in REFUSED.items() for url in urls.split()] + [
    ("empty", ""),
    ("white space", " http://example.com/"),
    ("white space", "http://example.com/ "),
    ("white space", "http://example.com /"),
    ("white space", "http://exam ple.com/"),
    ("white space", "http://example.com/a b"),
    ("white space", "http://example.com/\u00a0"),
    ("white space", "http://example.com\u2028/"),
    ("control", "http://example.com/\r\nX-Evil: 1"),
    ("control", "http://exam\tple.com/"),
    ("control", "ht\ntp://example.com/"),
    ("control", "http://example.com/\x00"),
    ("control", "http://example.com/\x7f"),
    ("control", "\x01http://example.com/"),
    ("length", "http://example.com/" + "a" * 500),
    ("length", f"http://{'a' * 64}.com/"),
    ("length", "http://" + "a." * 126 + "com/"),
]

ALLOWED = [
    "https://example.com/",
    "https://example.com",
    "https://example.com?x=1",
    "http://example.com/hook",
    "HTTPS://Hooks.EXAMPLE.com/Path",
    "https://example.com:443/hook",
    "http://example.com:80/hook",
    "http://example.com:443/",
    "http://example.com:8080/",
    "https://example.com:8443/a/b/c?d=e&f=%20g",
    "https://hooks.example.com/services/T0/B0/x-._~!$&'()*+,;=:@",
    "https://example.com//double//slash?q=http://127.0.0.1/",
    "https://example.com/@user",
    "https://8.8.8.8/",
    "http://1.1.1.1:8080/hook",
    "https://[2606:4700:4700::1111]/hook",
    "https://[2606:4700:4700:0:0:0:0:1111]:8443/hook",
    "https://bücher.example.com/hook",
    "https://BÜCHER.example.com/hook",
    "https://xn--bcher-kva.example.com/hook",
    "https://例え.jp/",
    "https://1password.com/",
    "https://127.0.0.1.example.com/",
    "https://3com.com/",
    "https://0x7f.example.com/",
    "https://a--b.example.com/",
    "https://localhost.example.com/",
    "https://internal.example.com/",
    "https://mylocal.com/",
    f"https://{'a' * 63}.com/",
    "https://example.com/" + "a" * (targets.URL_MAX - 20),
]

PUBLIC = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255"]
PUBLIC += ["172.32.0.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255"]
PUBLIC += ["2606:4700::1111", "2a00:1450:4001:80b::200e", "2003::1", "2001:4860:4860::8888", "2400:cb00::1"]


@pytest.fixture(autouse=True)
def _nothing_permitted(settings) -> None:  # type: ignore[no-untyped-def]
    settings.WEBHOOK_HOSTS = []


def test_the_tables_are_as_long_as_they_claim() -> None:
    assert len({url for _, url in TABLE}) == len(TABLE) >= 90
    assert len(set(ALLOWED)) == len(ALLOWED) >= 20


@pytest.mark.parametrize(("kind", "url"), TABLE)
def test_a_url_that_may_not_be_called_is_refused_in_words(kind: str, url: str) -> None:
    assert len(refuse_reason(url) or "") > 10


@pytest.mark.parametrize("url", ALLOWED)
def test_a_public_url_is_allowed(url: str) -> None:
    assert refuse_reason(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/", "the host is a loopback address"),
        ("http://[fd00::1]/", "the host is a unique local address"),
        ("http://[64:ff9b::1]/", "the host is a NAT64 address"),
        ("http://0x7f.1/", "the host is an IPv4 address in an odd notation"),
        ("http://app.localhost/", "the host is a name of this machine or of a private network"),
        ("http://redis/", "the host is a single word, which only a local network can resolve"),
        ("http://example.com:22/", "port 22 is not one of 80, 443, 8080, 8443"),
        ("http://a:canary@example.com/", "the URL has a user name or password in it"),
        ("ftp://example.com/", "the URL must begin with http:// or https://"),
    ],
)
def test_the_reason_says_what_is_wrong(url: str, words: str) -> None:
    assert refuse_reason(url) == words


@pytest.mark.parametrize(
    "url", ["http://a:canary@example.com/", "http://example.com:1/canary", "ftp://canary.com/canary"]
)
def test_the_reason_quotes_nothing_that_could_be_a_key(url: str) -> None:
    assert "canary" not in (refuse_reason(url) or "")


def test_a_url_is_read_once_for_all_uses() -> None:
    target = read("HTTPS://Bücher.Example.com:8443?x=%20y")
    assert (target.scheme, target.host, target.port, target.path) == (
        "https", "xn--bcher-kva.example.com", 8443, "/?x=%20y",
    )  # fmt: skip
    assert target.authority == "xn--bcher-kva.example.com:8443"
    assert read("https://example.com:443/").authority == "example.com"
    assert read("http://[2606:4700:0::1111]:8080/").authority == "[2606:4700::1111]:8080"


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_is_allowed(ip: str) -> None:
    assert refuse_address(ip) is None
    assert refuse_reason(f"http://[{ip}]/" if ":" in ip else f"http://{ip}/") is None


@pytest.mark.parametrize("network,kind", [*targets._SPECIAL_4, *targets._SPECIAL_6], ids=str)
def test_a_special_network_is_refused_from_its_first_address_to_its_last(network, kind: str) -> None:  # type: ignore[no-untyped-def]
    assert refuse_address(network[0])
    assert refuse_address(network[-1])
    assert f"it is {kind} address" in {refuse_address(network[0]), refuse_address(network[-1])}


@pytest.mark.parametrize(
    "ip", ["", "localhost", "127.1", "0177.0.0.1", "1.1.1.1%lo", "1.1.1.1:80", "[2606::1]", "fe80::1%lo"]
)
def test_what_is_no_plain_address_is_refused(ip: str) -> None:
    assert refuse_address(ip)


@pytest.mark.parametrize("ip", ["fe80::1%eth0", "2606:4700::1111%eth0"])
def test_an_address_with_a_zone_is_refused(ip: str) -> None:
    assert refuse_address(ip)
    assert refuse_address(IPv6Address(ip))


@given(st.ip_addresses())
def test_whatever_is_allowed_is_global_in_pythons_opinion_too(ip: IPv4Address | IPv6Address) -> None:
    if refuse_address(ip) is None:
        assert ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


# --- any address, any notation --------------------------------------------------------------------------------------

INSIDE_4: st.SearchStrategy[IPv4Address] = st.one_of(
    st.sampled_from(targets._SPECIAL_4).flatmap(lambda known: st.ip_addresses(network=known[0])),
    st.ip_addresses(v=4).filter(lambda ip: not ip.is_global),
).map(lambda ip: IPv4Address(int(ip)))
INSIDE_6 = st.one_of(
    st.sampled_from(targets._SPECIAL_6).flatmap(lambda known: st.ip_addresses(network=known[0])),
    st.ip_addresses(v=6).filter(lambda ip: not ip.is_global),
)
DIGITS = ["０１２３４５６７８９", "⁰¹²³⁴⁵⁶⁷⁸⁹", "⓪①②③④⑤⑥⑦⑧⑨", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "٠١٢٣٤٥٦٧٨٩"]


@st.composite
def notations_4(draw: st.DrawFn, ip: IPv4Address) -> str:
    """What inet_aton() reads as this address: one to four parts, each decimal, octal or hexadecimal."""
    count = draw(st.integers(1, 4))
    octets = list(ip.packed)
    parts = [*octets[: count - 1], int.from_bytes(bytes(octets[count - 1 :]), "big")]
    forms = ["{:d}", "0{:o}", "00{:o}", "0x{:x}", "0X{:X}", "0x000{:x}"]
    return ".".join(draw(st.sampled_from(forms)).format(part) for part in parts)


@st.composite
def disguises(draw: st.DrawFn, text: str) -> str:
    """The same for a parser that decodes or maps before it resolves; at least one character differs."""
    places = st.lists(st.integers(0, len(text) - 1), min_size=1, unique=True)
    letters = list(text)
    for place in draw(places):
        letter = text[place]
        if letter == ".":
            letters[place] = draw(st.sampled_from(["。", "．", "｡", "%2e", "%2E"]))
        elif letter in "0123456789":
            letters[place] = draw(st.sampled_from([row[int(letter)] for row in DIGITS] + [f"%{ord(letter):02x}"]))
        else:
            letters[place] = f"%{ord(letter):02X}"
    return "".join(letters)


@given(st.data())
def test_an_ipv4_address_of_the_inside_is_refused_in_every_notation(data: st.DataObject) -> None:
    ip = data.draw(INSIDE_4)
    text = data.draw(notations_4(ip))
    assert socket.inet_aton(text) == ip.packed, "the notation is none"
    assert refuse_reason(f"http://{ip}/")
    assert refuse_reason(f"http://{text}/")
    assert refuse_reason(f"http://{text}./")
    assert refuse_reason(f"https://{text}:8443/x")
    assert refuse_reason(f"http://{data.draw(disguises(text))}/")
    assert refuse_reason(f"http://user@{text}/")


@given(st.data())
def test_an_ipv4_address_of_the_inside_is_refused_inside_ipv6(data: st.DataObject) -> None:
    ip = data.draw(INSIDE_4)
    for prefix in ("::ffff:0:0", "::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "2001:db8::"):
        embedded = IPv6Address(int(IPv6Address(prefix)) | int(ip))
        for text in (str(embedded), embedded.exploded, f"{prefix.removesuffix('0:0')}{ip}"):
            assert refuse_reason(f"http://[{text}]/")
        assert refuse_address(embedded)
    assert refuse_address(IPv6Address(0x2002 << 112 | int(ip) << 80))


@given(
    INSIDE_6,
    st.sampled_from([str, lambda ip: ip.exploded, lambda ip: str(ip).upper()]),
    st.sampled_from(["", "%lo", "%25lo"]),
)
def test_an_ipv6_address_of_the_inside_is_refused_in_every_notation(ip, spell, zone: str) -> None:  # type: ignore[no-untyped-def]
    assert refuse_address(ip)
    assert refuse_reason(f"http://[{spell(ip)}{zone}]/")
    assert refuse_reason(f"https://[{spell(ip)}{zone}]:8443/x")
    assert refuse_reason(f"http://{spell(ip)}/")


PART = st.one_of(
    st.integers(0, 2**32).flatmap(lambda n: st.sampled_from([f"{n}", f"0{n:o}", f"0x{n:x}", f"0{n}", f"{n:x}"])),
    st.integers(0, 255).map(str),
    st.sampled_from(["", "0", "00", "0x", "0X7F", "08", "256", "a", "x"]),
)


@given(st.lists(PART, min_size=1, max_size=5).map(".".join))
@example("127.1")
@example("0x")
def test_what_libc_takes_for_an_ipv4_address_is_allowed_only_as_a_plain_public_one(text: str) -> None:
    if refuse_reason(f"http://{text}/") is None:
        try:
            ip = IPv4Address(socket.inet_aton(text))
        except OSError:
            return  # a name
        assert text == str(ip)
        assert ip.is_global


PIECES = [
    "http://",
    "https://",
    "example.com",
    "127.0.0.1",
    "8.8.8.8",
    "[::1]",
    "[2606:4700::1]",
    "localhost",
    "@",
    ":",
    "/",
]
PIECES += [
    "\\",
    "?",
    "#",
    "%",
    "%2f",
    ".",
    "80",
    "8443",
    " ",
    "\t",
    "\n",
    "。",
    "１",
    "ü",
    "xn--",
    "-",
    "_",
    "[",
    "]",
    ";",
    "&",
]


@given(
    st.sampled_from(["example.com", "8.8.8.8", "[2606:4700::1]", "ü.de", ""]),
    st.lists(st.sampled_from(PIECES), max_size=5),
)
@example("example.com", [":8443", "/", "@", "127.0.0.1"])
@example("example.com", ["１", "ü"])
@example("ü.de", ["-", "-", "example.com"])
def test_other_parsers_find_the_same_host_in_what_is_allowed(head: str, tail: list[str]) -> None:
    url = f"http://{head}{''.join(tail)}"
    if refuse_reason(url) is not None:
        return
    target = read(url)
    theirs = httpx.URL(url)
    assert theirs.raw_host.decode() == target.host
    assert (theirs.port or 80) == target.port == (urlsplit(url).port or 80)
    if url.isascii():
        assert urlsplit(url).hostname == target.host
    assert target.address is None or refuse_address(target.address) is None


@given(st.text(max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    for url in (text, f"http://{text}", f"http://{text}/", f"http://[{text}]/", f"http://example.com{text}"):
        assert refuse_reason(url) is None or refuse_reason(url)
    refuse_address(text)


# --- what the operator permits --------------------------------------------------------------------------------------


def test_a_host_that_the_operator_named_is_allowed_at_every_port(settings) -> None:  # type: ignore[no-untyped-def]
    settings.WEBHOOK_HOSTS = ["127.0.0.1", "receiver"]
    assert refuse_reason("http://127.0.0.1:49152/hook") is None
    assert refuse_reason("http://RECEIVER:9000/") is None
    assert read("http://receiver/").permitted
    assert refuse_reason("http://127.0.0.2:8080/")
    assert refuse_reason("http://sub.receiver/") is None  # a public name as any other, with its addresses checked
    assert not read("http://sub.receiver/").permitted


def test_a_host_named_with_a_port_is_allowed_there_only() -> None:
    allowed = ["hooks.internal:9000", "[::1]:9001", "fd00::5"]
    for url in ("http://hooks.internal:9000/", "http://[::1]:9001/", "http://[0:0::1]:9001/", "https://[fd00::5]:7/"):
        assert read(url, allowed=allowed).permitted
    for url in (
        "http://hooks.internal/",
        "http://hooks.internal:8080/",
        "http://[::1]/",
        "http://a.hooks.internal:9000/",
    ):
        with pytest.raises(TargetRefused):
            read(url, allowed=allowed)


def test_a_permitted_host_is_still_named_in_plain_notation_only() -> None:
    for url in (
        "http://127.1/",
        "http://user@127.0.0.1/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.0.0.1/#x",
    ):
        with pytest.raises(TargetRefused):
            read(url, allowed=["127.0.0.1"])


def test_an_entry_that_is_no_host_permits_nothing() -> None:
    allowed = ["", "*", "*.internal", "http://127.0.0.1", "127.0.0.1/8", "127.1", "[::1", "a:b", "127.0.0.1:0"]
    with pytest.raises(TargetRefused):
        read("http://127.0.0.1/", allowed=allowed)
    for entry in allowed:
        with pytest.raises(TargetRefused):
            targets.read_allowance(entry)
