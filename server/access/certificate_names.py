"""The names in a caller's certificate. A name counts only as what its type says.

An authority that checks DNS names may sign any e-mail address or URI. So a URI or an e-mail address
that reads like a DNS name is not that DNS name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

# gRPC's properties of a connection, by the type of the alternative names that they hold.
_PROPERTIES = {"dns": "peer_dns", "uri": "peer_uri", "email": "peer_email", "ip": "peer_ip"}
_ALTERNATIVE_NAMES, _COMMON_NAME = "x509_subject_alternative_name", "x509_common_name"


def names_by_type(connection: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    """Yield the names that are written as their type requires.

    `connection`: what gRPC's `auth_context` returns. The common name counts as a DNS name, and only
    if the certificate has no alternative names.
    """
    found = {kind: connection.get(name, ()) for kind, name in _PROPERTIES.items()}
    if not connection.get(_ALTERNATIVE_NAMES) and not any(found.values()):
        found["dns"] = connection.get(_COMMON_NAME, ())
    for kind, values in found.items():
        for value in values:
            name = value.decode(errors="replace")
            if _type_of(name) == kind:
                yield name


def _type_of(name: str) -> str:
    """Return the type of a name as it is written, in a certificate or in the clients file."""
    try:
        ip_address(name)
    except ValueError:
        if ":" in name:
            return "uri"
        return "email" if "@" in name else "dns"
    return "ip"
