"""Test that webhooks go to public receivers, and to private ones that the operator lists."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storage.errors import ConfigurationError, InvalidRequest
from storage.webhook_policy import (
    DENIED_NETWORKS,
    SPECIAL_NAMES,
    WebhookPolicy,
    display,
    is_plaintext,
    is_public,
)

# As with WEBHOOK_PLAINTEXT: the rules for hosts and ports apply to http:// receivers, too.
ANY = WebhookPolicy(allows_plaintext=True)


def refusal(url: str, receivers: WebhookPolicy = ANY) -> str:
    with pytest.raises(InvalidRequest) as caught:
        receivers.check(url)
    (violation,) = caught.value.violations
    assert violation.field == "webhook_url"
    return violation.description


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://hooks.tribunal.jus.br/a", "https://hooks.tribunal.jus.br/a"),
        ("HTTPS://Hooks.Tribunal.JUS.br/A", "https://hooks.tribunal.jus.br/A"),
        ("https://tribunal.jus.br", "https://tribunal.jus.br/"),
        ("https://tribunal.jus.br?", "https://tribunal.jus.br/"),
        ("https://tribunal.jus.br?a=b", "https://tribunal.jus.br/?a=b"),
        ("https://tribunal.jus.br./a", "https://tribunal.jus.br/a"),
        ("https://tribunal.jus.br:443/", "https://tribunal.jus.br/"),
        ("http://tribunal.jus.br:80/", "http://tribunal.jus.br/"),
        ("http://tribunal.jus.br:/", "http://tribunal.jus.br/"),
        ("http://tribunal.jus.br:0443/", "http://tribunal.jus.br:443/"),
        ("https://tribunal.jus.br:80/", "https://tribunal.jus.br:80/"),
        ("http://tribunal.jus.br:8080/", "http://tribunal.jus.br:8080/"),
        ("https://tribunal.jus.br:8443/", "https://tribunal.jus.br:8443/"),
        ("https://justiça.jus.br/", "https://xn--justia-0ua.jus.br/"),
        ("https://JUSTIÇA.jus.br/", "https://xn--justia-0ua.jus.br/"),
        ("https://xn--justia-0ua.jus.br/", "https://xn--justia-0ua.jus.br/"),
        ("https://straße.de/", "https://xn--strae-oqa.de/"),
        ("https://tribunal。jus。br/", "https://tribunal.jus.br/"),
        ("https://tribunal.jus.br/petição?órgão=1", None),
        (
            "https://a.br/%C3%A7%2Fx/100%/%zz?q=%20%",
            "https://a.br/%C3%A7%2Fx/100%25/%25zz?q=%20%25",
        ),
        ("https://a.br/a<b>\"'{}|^`[]?x[]=1?", None),
        ("https://a.br//b/../c;d=1", "https://a.br//b/../c;d=1"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://\uff18.\uff18.\uff18.\uff18/", "https://8.8.8.8/"),
        ("https://[2606:4700:0:0::1111]:8443/", "https://[2606:4700::1111]:8443/"),
        ("https://[2606:4700::AB]/", "https://[2606:4700::ab]/"),
    ],
)
def test_accepted_url_gets_its_one_ascii_form(url: str, normal: str | None) -> None:
    checked = ANY.check(url)

    assert normal in (None, checked)
    assert checked.isascii()
    assert ANY.check(checked) == checked


def test_escapes_are_made_once() -> None:
    assert ANY.check("https://a.br/petição?órgão=1") == (
        "https://a.br/peti%C3%A7%C3%A3o?%C3%B3rg%C3%A3o=1"
    )
    assert ANY.check("https://a.br/<[x]>?y[]=^") == "https://a.br/%3C%5Bx%5D%3E?y%5B%5D=%5E"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "not http:// or https://"),
        ("tribunal.jus.br", "not http:// or https://"),
        ("//tribunal.jus.br/", "not http:// or https://"),
        ("ftp://tribunal.jus.br/", "not http:// or https://"),
        ("javascript:alert(1)", "not http:// or https://"),
        ("file:///etc/passwd", "not http:// or https://"),
        ("https:tribunal.jus.br", "not http:// or https://"),
        ("https:///a", "not http:// or https://"),
        ("https://:443/", "not a valid domain name"),
        ("https://./", "not a valid domain name"),
        ("https://tribunal.jus.br../", "not a valid domain name"),
        ("https://tribunal..jus.br/", "not a valid domain name"),
        ("https://-a.jus.br/", "not a valid domain name"),
        ("https://a_b.jus.br/", "not a valid domain name"),
        ("https://a%2e.jus.br/", "not a valid domain name"),
        ("https://*.jus.br/", "not a valid domain name"),
        ("https://xn--zzzzzzzz99999.br/", "not a valid domain name"),
        ("https://☃.jus.br/", "not a valid domain name"),
        (f"https://{'a' * 64}.br/", "not a valid domain name"),
        (f"https://{'a.' * 130}br/", "not a valid domain name"),
        ("https://user@tribunal.jus.br/", "user info"),
        ("https://user:secret@tribunal.jus.br/", "user info"),
        ("https://@tribunal.jus.br/", "user info"),
        ("https://tribunal.jus.br@10.0.0.1/", "user info"),
        ("https://a.br\uff2010.0.0.1/", "cannot be read"),
        ("https://a.br\u2100x/", "cannot be read"),
        ("https://tribunal.jus.br/#a", "fragment"),
        ("https://tribunal.jus.br/#", "fragment"),
        ("https://tribunal.jus.br#@10.0.0.1/", "fragment"),
        (" https://tribunal.jus.br/", "white space"),
        ("https://tribunal.jus.br/ ", "white space"),
        ("https://tribunal.jus.br/a b", "white space"),
        ("https://tribunal.jus.br/\u00a0", "white space"),
        ("https://tribunal.jus.br/\u2028", "white space"),
        ("https://tribunal.jus.br/\r\nX: y", "control character"),
        ("https://tribu\tnal.jus.br/", "control character"),
        ("https://tribunal.jus.br/\x00", "control character"),
        ("https://tribunal.jus.br/\x7f", "control character"),
        ("https://tribunal.jus.br/\ud800", "control character"),
        ("https://tribunal.jus.br\\@10.0.0.1/", "backslash"),
        ("https://tribunal.jus.br:0/", "no port 0"),
        ("https://tribunal.jus.br:22/", "Port 22 is not allowed"),
        ("https://tribunal.jus.br:9999/", "Port 9999 is not allowed"),
        ("https://tribunal.jus.br:65536/", "no port 65536"),
        ("https://tribunal.jus.br:4430000/", "cannot be read"),
        ("https://tribunal.jus.br:٤٤٣/", "cannot be read"),
        ("https://tribunal.jus.br:-1/", "cannot be read"),
        ("https://tribunal.jus.br:80:80/", "cannot be read"),
        ("https://2606:4700::1/", "cannot be read"),
        ("https://[2606:4700::1/", "cannot be read"),
        ("https://[2606:4700::1]x/", "cannot be read"),
        ("https://a[2606:4700::1]/", "cannot be read"),
        ("https://[v1.a]/", "without a zone"),
        ("https://[2606:4700::1%25eth0]/", "without a zone"),
        ("https://[tribunal.jus.br]/", ""),
        ("https://[8.8.8.8]/", ""),
        ("https://tribunal/", "has no domain"),
        ("https://br./", "has no domain"),
    ],
)
def test_wrong_url_is_refused_with_the_reason(url: str, reason: str) -> None:
    assert reason in refusal(url)


@pytest.mark.parametrize("name", sorted(SPECIAL_NAMES))
def test_special_use_names_are_refused_with_their_subdomains(name: str) -> None:
    for host in (name, f"{name}.", name.upper(), f"hooks.{name}"):
        assert "reserved for special use" in refusal(f"https://{host}/")
    if "." in name:
        assert ANY.check(f"https://my{name}/")


@pytest.mark.parametrize(
    "host", ["metadata.google.internal", "1.0.0.127.in-addr.arpa", "a.home.arpa"]
)
def test_well_known_special_names_are_refused(host: str) -> None:
    assert "reserved for special use" in refusal(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "017700000001", "0x7f000001", "0X7F000001", "0177.0.0.1", "0x7f.1",
        "0x7f.0.0.1", "127.1", "127.0.1", "127.0.0.01", "127.0.0.0x1", "127.00.0.1", "127.0.0.1.1",
        "127.0.0.256", "8.8.8", "134744072", "010.8.8.8", "a.1", "a.0x", "0", "0x",
        "127。1", "\uff11\uff12\uff17.1",
    ],
)  # fmt: skip
def test_unusual_forms_of_ipv4_are_refused_even_of_public_addresses(host: str) -> None:
    assert "IPv4 address in an unusual form" in refusal(f"http://{host}/")


PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9",
    "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:8.8.8.8",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "2001::1", "2001:1::1",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:808:808::1", "3ffe::1", "3fff::1",
    "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
    "2606:4700::5efe:808:808", "2606:4700::200:5efe:a00:1",
]  # fmt: skip


@pytest.mark.parametrize("text", PRIVATE)
def test_addresses_that_are_not_public_are_refused(text: str) -> None:
    address = ip_address(text)

    assert not is_public(address)
    assert not ANY.may_connect("hooks.tribunal.jus.br", 443, address)
    host = f"[{text}]" if address.version == 6 else text
    assert "is not a public address" in refusal(f"https://{host}/")


def test_scoped_addresses_are_not_public() -> None:
    assert is_public(ip_address("2606:4700::1"))
    assert not is_public(ip_address("2606:4700::1%eth0"))
    assert not is_public(ip_address("fe80::1%2"))


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "168.63.129.17", "172.32.0.1",
     "192.0.1.1", "198.20.0.1", "223.255.255.255", "2001:200::1", "2606:4700::1111",
     "2a00:1450::1", "2804:1::1"],
)  # fmt: skip
def test_public_addresses_beside_the_denied_ones_are_public(text: str) -> None:
    assert is_public(ip_address(text))


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)) | st.sampled_from(
    [network[0] for network in DENIED_NETWORKS] + [network[-1] for network in DENIED_NETWORKS]
)


@given(address=addresses)
def test_a_literal_is_accepted_only_if_it_is_public(address: IPv4Address | IPv6Address) -> None:
    url = f"http://[{address}]/" if address.version == 6 else f"http://{address}/"

    if is_public(address):
        assert ANY.check(url) == url
    else:
        refusal(url)


def ipv4_forms(value: int) -> st.SearchStrategy[str]:
    """Return every notation of `value` that inet_aton accepts."""
    octets = list(value.to_bytes(4, "big"))
    part = st.sampled_from(["{:d}", "0{:o}", "0x{:x}", "0X{:X}", "00{:o}"])

    def form(count: int, formats: list[str]) -> str:
        last = int.from_bytes(bytes(octets[count - 1 :]), "big")
        return ".".join(
            f.format(n) for f, n in zip(formats, [*octets[: count - 1], last], strict=False)
        )

    return st.builds(form, st.integers(1, 4), st.lists(part, min_size=4, max_size=4))


@given(data=st.data(), value=st.integers(0, 2**32 - 1), dot=st.sampled_from(["", "."]))
def test_no_textual_form_hides_a_private_address(data: st.DataObject, value: int, dot: str) -> None:
    address = IPv4Address(value)
    text = data.draw(ipv4_forms(value))

    if text == str(address):
        assume(not is_public(address))
    refusal(f"http://{text}{dot}/")


MAPPINGS = ["::", "::ffff:", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"]
ISATAP = ["2606:4700::5efe:", "2606:4700::200:5efe:"]


@given(value=st.integers(0, 2**32 - 1), prefix=st.sampled_from(MAPPINGS + ISATAP))
def test_no_ipv6_address_hides_an_ipv4_address(value: int, prefix: str) -> None:
    refusal(f"http://[{prefix}{IPv4Address(value)}]/")


texts = st.text(st.characters(exclude_categories=()), max_size=30)


@given(
    url=st.builds(
        "{}://{}{}/{}?{}".format,
        st.sampled_from(["http", "https", "HTTP", "ftp"]),
        st.one_of(
            st.sampled_from(["a.br", "justiça.jus.br", "8.8.8.8", "127.0.0.1", "[::1]"]), texts
        ),
        st.sampled_from(["", ":80", ":8443", ":", ":x"]),
        texts,
        texts,
    )
    | texts
)
def test_checking_twice_changes_nothing_and_nothing_else_is_raised(url: str) -> None:
    try:
        checked = ANY.check(url)
    except InvalidRequest:
        return
    assert checked.isascii()
    assert ANY.check(checked) == checked


def test_length_counts_before_and_after_escaping() -> None:
    base = "https://a.br/"
    longest = base + "a" * (2_048 - len(base))

    assert ANY.check(longest) == longest
    assert "too long" in refusal(longest + "a")
    assert "too long" in refusal(base + "ç" * 400)


def test_with_a_list_only_listed_hosts_are_accepted() -> None:
    receivers = WebhookPolicy.from_entries(
        ("Hooks.tribunal.jus.br", "a.br:8443", "*.advogados.br", "8.8.8.8"), allows_plaintext=True
    )

    for url in (
        "https://hooks.tribunal.jus.br/",
        "http://hooks.tribunal.jus.br:8080/",
        "https://a.br:8443/",
        "https://x.advogados.br/",
        "https://x.y.advogados.br/",
        "https://8.8.8.8/",
    ):
        assert receivers.check(url) == url
    for url in (
        "https://tribunal.jus.br/",
        "https://a.br/",
        "https://advogados.br/",
        "https://xadvogados.br/",
        "https://8.8.4.4/",
    ):
        assert "operator does not allow" in refusal(url, receivers)
    assert "Port 22" in refusal("https://hooks.tribunal.jus.br:22/", receivers)
    assert not receivers.may_connect("hooks.tribunal.jus.br", 443, ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("127.0.0.1:8099", "http://127.0.0.1:8099/a", "127.0.0.1"),
        ("[::1]:9000", "https://[::1]:9000/", "::1"),
        ("10.1.2.3:80", "http://10.1.2.3/", "10.1.2.3"),
        ("localhost:8099", "http://localhost:8099/", "127.0.0.1"),
        ("LOCALHOST.:8099", "http://localhost:8099/", "::1"),
        ("localhost:8099", "http://localhost:8099/", "127.0.0.53"),
    ],
)
def test_private_receiver_named_with_its_port_is_accepted(
    entry: str, url: str, address: str
) -> None:
    receivers = WebhookPolicy.from_entries((entry,), allows_plaintext=True)
    host, port = receivers.allowed[0].host, receivers.allowed[0].port
    assert port is not None

    assert receivers.check(url) == url
    assert receivers.may_connect(host, port, ip_address(address))
    assert not receivers.may_connect(host, port, ip_address("10.9.9.9"))
    assert not receivers.may_connect(host, port, ip_address("8.8.8.8"))
    assert not receivers.may_connect(host, port, ip_address("::ffff:127.0.0.1"))
    assert not receivers.may_connect(host, port + 1, ip_address(address))
    refusal("http://127.0.0.1:8098/", receivers)
    refusal("http://127.0.0.2:8099/", receivers)
    refusal("http://a.localhost:8099/", receivers)
    refusal("https://hooks.tribunal.jus.br/", receivers)


def test_localhost_and_its_address_are_different_receivers() -> None:
    refusal("http://127.0.0.1:8099/", WebhookPolicy.from_entries(("localhost:8099",)))
    refusal("http://localhost:8099/", WebhookPolicy.from_entries(("127.0.0.1:8099",)))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("127.0.0.1", "name its one port"),
        ("localhost", "name its one port"),
        ("[::1]", "name its one port"),
        ("169.254.169.254", "name its one port"),
        ("localhost:0", "no port 0"),
        ("localhost:65536", "no port 65536"),
        ("localhost:http", "cannot be read"),
        ("::1:9000", "cannot be read"),
        ("127.1:8099", "unusual form"),
        ("*.a.br:443", "wildcard"),
        ("*.localhost", "name its one port"),
        ("*.home.arpa", "reserved"),
        ("*.10.0.0.1", "wildcard"),
        ("*", "not a valid domain name"),
        ("*.", "not a valid domain name"),
        ("a.*.br", "not a valid domain name"),
        ("https://a.br/", "cannot be read"),
        ("a.br/path", "not a valid domain name"),
        ("a.br:9000", "Port 9000"),
        ("hooks.local:8080", "reserved"),
        ("receiver:8080", "no domain"),
        ("", "not a valid domain name"),
    ],
)
def test_wrong_entry_is_a_configuration_error(entry: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        WebhookPolicy.from_entries(("a.br", entry))
    assert "WEBHOOK_ALLOWED_HOSTS" in str(caught.value)


def test_display_leaves_out_what_may_be_secret() -> None:
    assert display("https://u:p@a.br:8443/x?token=1#f") == "https://a.br:8443/x"
    assert display("https://a.br/?token=1") == "https://a.br/"


@pytest.mark.parametrize("host", ["tribunal.jus.br", "8.8.8.8", "10.1.2.3:8099"])
def test_http_receivers_beyond_loopback_need_the_setting_of_the_operator(host: str) -> None:
    entries = (host,)

    assert "use https://" in refusal(f"http://{host}/", WebhookPolicy.from_entries(entries))
    allowing = WebhookPolicy.from_entries(entries, allows_plaintext=True)
    assert allowing.check(f"http://{host}/") == f"http://{host}/"
    assert is_plaintext(f"http://{host}/")
    assert not is_plaintext(f"https://{host}/")


def test_http_to_this_machine_needs_no_words_and_is_read_by_no_network() -> None:
    receivers = WebhookPolicy.from_entries(("127.0.0.1:8099", "localhost:8099"))

    for url in ("http://127.0.0.1:8099/", "http://localhost:8099/"):
        assert receivers.check(url) == url
        assert not is_plaintext(url)
