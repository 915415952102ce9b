"""The receivers that webhooks may be sent to. Rules only, no I/O.

The server checks each given URL; the actors check it again at every attempt. `WebhookPolicy.check`
checks the URL. `WebhookPolicy.may_connect` checks each address that its name resolves to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, quote, urlsplit

import idna

from storage.environment.plaintext import is_loopback_host
from storage.errors import ConfigurationError, InvalidRequest

Address = IPv4Address | IPv6Address

DEFAULT_PORTS = {"http": 80, "https": 443}
PORTS = (80, 443, 8080, 8443)
MAX_URL_LENGTH = 2_048

# IANA's registry of special-use domain names (RFC 6761; `arpa` as a whole), ICANN's `internal`, and
# the names that private networks use (RFC 6762, appendix G). Subdomains are included.
SPECIAL_NAMES = frozenset(
    "alt arpa example example.com example.net example.org internal"  # noqa: SIM905 - fewer lines
    " invalid local localhost onion test corp home intranet lan private".split()
)

# IANA's IPv4 and IPv6 special-purpose registries (RFC 6890), and further addresses that must not be
# called. The table is here because the one behind `is_global` differs between Python versions.
DENIED_NETWORKS = tuple(
    ip_network(network)
    for network in (  # noqa: SIM905 - a line for each kind
        "0.0.0.0/8 127.0.0.0/8"  # this host
        " 169.254.0.0/16"  # link-local, with the clouds' metadata
        " 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10"  # private, carrier-grade NAT
        " 192.0.0.0/24 192.88.99.0/24 198.18.0.0/15"  # protocols, 6to4 relays, benchmarks
        " 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"  # documentation
        " 224.0.0.0/4 240.0.0.0/4"  # multicast, reserved and broadcast
        " 168.63.129.16/32"  # Azure's own services, reachable from its virtual machines only
        " 2001::/23 2002::/16 3ffe::/16"  # protocols with Teredo, 6to4, 6bone (RFC 3701)
        " 2001:db8::/32 3fff::/20"  # documentation
    ).split()
)
# All addresses that IANA has allocated as global unicast. Mapped, compatible and translated IPv4,
# NAT64, unique-local, link-local, site-local and multicast addresses are outside.
GLOBAL_UNICAST = IPv6Network("2000::/3")
ISATAP_IDENTIFIERS = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214, section 6.1

_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_CHARACTERS = "%/:@!$&'()*+,;="  # RFC 3986: pchar and "/"; "%" because escapes are kept


def is_public(address: Address) -> bool:
    """Return True for a globally routable unicast address that contains no other address."""
    if isinstance(address, IPv6Address):
        is_isatap = (int(address) >> 32) & 0xFFFF_FFFF in ISATAP_IDENTIFIERS
        if address not in GLOBAL_UNICAST or address.scope_id is not None or is_isatap:
            return False
    return address.is_global and not any(address in network for network in DENIED_NETWORKS)


def display(url: str) -> str:
    """Return a checked URL without user info and query, which may contain secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_plaintext(url: str) -> bool:
    """Return True if others on the network can read what is sent to a checked URL."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback_host(parts.hostname or "")


def receiver_of(url: str) -> str:
    """Return scheme, host and port of a checked URL, which identify one receiver."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One entry of WEBHOOK_ALLOWED_HOSTS; `host` is as in a checked URL, or "*." and a domain.

    A private entry is an address that is not public, or localhost, at one port.
    """

    host: str
    port: int | None
    is_private: bool

    @classmethod
    def parse(cls, text: str) -> AllowRule:
        """Parse host, host:port or *.domain. Raises ValueError with the problem."""
        name = text.removeprefix("*.")
        raw_host, port = _split_port(name)
        host = _canonical_host(raw_host)
        address = _address(host)
        is_private = host == "localhost" if address is None else not is_public(address)
        if name != text and (port or address):
            raise ValueError("A wildcard takes a domain name and no port, as in *.tribunal.jus.br.")
        if is_private and not port:
            raise ValueError(f"{host} is private; name its one port too, as in {raw_host}:8099.")
        if not is_private:
            _require_public(host, port or PORTS[0])
        return cls(host if name == text else f"*.{host}", port, is_private)

    def covers(self, host: str, port: int) -> bool:
        """Return True if the entry allows the receiver at `host` and `port`."""
        is_host = host.endswith(self.host[1:]) if self.host[0] == "*" else host == self.host
        return is_host and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """The receivers that may be called. Without entries: every public receiver."""

    allowed: tuple[AllowRule, ...] = ()
    allows_plaintext: bool = False

    @classmethod
    def from_entries(
        cls, entries: Iterable[str], *, allows_plaintext: bool = False
    ) -> WebhookPolicy:
        """Return the policy of WEBHOOK_ALLOWED_HOSTS. Raises ConfigurationError for a bad entry."""
        allowed = []
        for text in entries:
            try:
                allowed.append(AllowRule.parse(text))
            except ValueError as error:
                raise ConfigurationError(f"WEBHOOK_ALLOWED_HOSTS, {text!r}: {error}") from error
        return cls(tuple(allowed), allows_plaintext)

    def check(self, url: str) -> str:
        """Return the URL in its one ASCII form. A second check changes nothing.

        Raises InvalidRequest for `webhook_url` if no webhook may be sent there.
        """
        try:
            parts = _split(url)
            authority = self._checked_authority(parts)
            query = "?" + _encode(parts.query, "?") if parts.query else ""
            return _limited(f"{parts.scheme}://{authority}{_encode(parts.path) or '/'}{query}")
        except ValueError as error:
            raise InvalidRequest.of("webhook_url", str(error)) from error

    def _checked_authority(self, parts: SplitResult) -> str:
        default_port = DEFAULT_PORTS[parts.scheme]
        raw_host, given_port = _split_port(parts.netloc)
        host, port = _canonical_host(raw_host), given_port or default_port
        entry = self._entry(host, port)
        if entry is None or not entry.is_private:
            _require_public(host, port)
        if self.allowed and entry is None:
            raise ValueError(
                f"The server's operator does not allow {host} at port {port};"
                " ask for it to be added to WEBHOOK_ALLOWED_HOSTS."
            )
        if parts.scheme == "http" and not self.allows_plaintext and not is_loopback_host(host):
            raise ValueError(
                f"http:// to {host} would be read on the way; use https://, or have the server's"
                " operator set WEBHOOK_PLAINTEXT."
            )
        authority = f"[{host}]" if ":" in host else host
        return authority if port == default_port else f"{authority}:{port}"

    def may_connect(self, host: str, port: int, address: Address) -> bool:
        """Return True if `address` may be called for `host`, the host of a checked URL."""
        entry = self._entry(host, port)
        if entry is None or not entry.is_private:
            return is_public(address)
        return address.is_loopback if host == "localhost" else address == _address(host)

    def _entry(self, host: str, port: int) -> AllowRule | None:
        return next((entry for entry in self.allowed if entry.covers(host, port)), None)


def _limited(url: str) -> str:
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(
            f"The URL is too long; use at most {MAX_URL_LENGTH:,} characters, percent-encoded."
        )
    return url


def _split(url: str) -> SplitResult:
    forbidden = {"Cc", "Cs", "Zs", "Zl", "Zp"}
    if any(c == "\\" or unicodedata.category(c) in forbidden for c in _limited(url)):
        raise ValueError(
            "The URL holds white space, a control character or a backslash; percent-encode it."
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError("The URL cannot be read; write https://host/path.") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        raise ValueError("The URL is not http:// or https:// with a host; write https://host/path.")
    if "@" in parts.netloc:
        raise ValueError("The URL holds user info; leave out what stands before the @.")
    if "#" in url:
        raise ValueError("The URL holds a fragment; leave out the # and what follows it.")
    return parts


def _split_port(authority: str) -> tuple[str, int | None]:
    match = _HOST_AND_PORT.fullmatch(authority)
    if not match:
        raise ValueError("The host and port cannot be read; write host or host:port.")
    host, port = match.groups()
    if port and not 1 <= int(port) <= 65_535:
        raise ValueError(f"There is no port {port}; use 80, 443, 8080 or 8443.")
    return host, int(port) if port else None


def _canonical_host(text: str) -> str:
    """Return the host in lower-case ASCII, without brackets and trailing dot."""
    if text.startswith("["):
        address = _address(text[1:-1])
        if not isinstance(address, IPv6Address) or address.scope_id is not None:
            raise ValueError("The host is not an IPv6 address without a zone.")
        return str(address)
    try:
        host = idna.encode(text, uts46=True, std3_rules=True).decode("ascii").removesuffix(".")
    except UnicodeError as error:
        raise ValueError("The host is not a valid domain name (IDNA 2008).") from error
    # Many parsers read a name that ends in a number as an IPv4 address (WHATWG URL, section 3.5).
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and not _address(host):
        raise ValueError("The host is an IPv4 address in an unusual form; write four decimals.")
    return host


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _require_public(host: str, port: int) -> None:
    address = _address(host)
    if address is not None:
        if not is_public(address):
            raise ValueError(f"{host} is not a public address; use a receiver on the internet.")
    else:
        labels = host.split(".")
        if SPECIAL_NAMES & {".".join(labels[start:]) for start in range(len(labels))}:
            raise ValueError(f"{host} is reserved for special use; use a public domain name.")
        if len(labels) == 1:
            raise ValueError(f"{host} has no domain; use a full name, as in hooks.tribunal.jus.br.")
    if port not in PORTS:
        raise ValueError(f"Port {port} is not allowed; use 80, 443, 8080 or 8443.")


def _encode(text: str, also_safe: str = "") -> str:
    return quote(_LONE_PERCENT.sub("%25", text), safe=_PATH_CHARACTERS + also_safe)
