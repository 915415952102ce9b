"""Values that no field accepts, and the error message for each."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

UNKNOWN_ID = "2f1e0c9a-7b3d-4c5e-8f60-1a2b3c4d5e6f"


def seconds(value: float = 0, *, nanos: int = 0) -> Duration:
    return Duration(seconds=int(value), nanos=nanos)


FORBIDDEN_URLS = {
    "no scheme": ("hooks.tribunal.jus.br/x", "http:// or https://"),
    "ftp": ("ftp://hooks.tribunal.jus.br/x", "http:// or https://"),
    "file": ("file:///etc/passwd", "http:// or https://"),
    "javascript": ("javascript:alert(1)", "http:// or https://"),
    "no host": ("https:///x", "http:// or https://"),
    "blank": (" ", "white space"),
    "white space inside": ("https://hooks.tribunal.jus.br/a b", "white space"),
    "a new line": ("https://hooks.tribunal.jus.br/\r\nHost: x", "white space"),
    "NUL": ("https://hooks.tribunal.jus.br/\0", "control character"),
    "a backslash": ("https://hooks.tribunal.jus.br\\@10.0.0.1/", "backslash"),
    "user info": ("https://user:pass@hooks.tribunal.jus.br/", "leave out what stands before the @"),
    "a fragment": ("https://hooks.tribunal.jus.br/#x", "leave out the #"),
    "another port": ("https://hooks.tribunal.jus.br:22/", "use 80, 443, 8080 or 8443"),
    "no such port": ("https://hooks.tribunal.jus.br:99999/", "use 80, 443, 8080 or 8443"),
    "too long": ("https://hooks.tribunal.jus.br/" + "x" * 2_048, "at most 2,048 characters"),
    "loopback": ("http://127.0.0.1/", "not a public address"),
    "loopback at another port": ("http://127.0.0.1:8080/", "not a public address"),
    "a private network": ("http://10.0.0.1/", "not a public address"),
    "carrier-grade NAT": ("http://100.64.0.1/", "not a public address"),
    "the clouds' metadata": ("http://169.254.169.254/latest/meta-data", "not a public address"),
    "Azure's own services": ("http://168.63.129.16/", "not a public address"),
    "any address": ("http://0.0.0.0/", "not a public address"),
    "multicast": ("http://224.0.0.1/", "not a public address"),
    "IPv6 loopback": ("http://[::1]/", "not a public address"),
    "IPv4 in IPv6": ("http://[::ffff:8.8.8.8]/", "not a public address"),
    "NAT64": ("http://[64:ff9b::a00:1]/", "not a public address"),
    "6to4": ("http://[2002:a00:1::]/", "not a public address"),
    "Teredo": ("http://[2001::1]/", "not a public address"),
    "unique local": ("http://[fd00::1]/", "not a public address"),
    "an IPv6 zone": ("http://[fe80::1%25eth0]/", "without a zone"),
    "a decimal address": ("http://2130706433/", "write four decimals"),
    "a hexadecimal address": ("http://0x7f.1/", "write four decimals"),
    "an address in wide digits": ("http://\uff11\uff12\uff17.0.0.1/", "not a public address"),
    "localhost": ("http://localhost/", "use a public domain name"),
    "a name below localhost": ("http://x.localhost/", "use a public domain name"),
    "an internal name": ("http://metadata.google.internal/", "use a public domain name"),
    "an example": ("http://hooks.example.com/", "use a public domain name"),
    "no domain": ("http://intranet-server/", "use a full name"),
    "no IDNA": ("http://-x-.jus.br/", "not a valid domain name"),
    "not the operator's": ("https://hooks.tribunal.jus.br/", "WEBHOOK_ALLOWED_HOSTS"),
}
NO_UUIDS = (
    "x",
    UNKNOWN_ID[:-1],
    UNKNOWN_ID.replace("-", ""),
    f"{{{UNKNOWN_ID}}}",
    f" {UNKNOWN_ID}",
)
NO_DURATIONS = {
    "negative": seconds(-1),
    "just negative": seconds(nanos=-1),
    "of two minds": seconds(1, nanos=-1),
    "no duration": seconds(nanos=2_000_000_000),
    "absurd": seconds(2**62),
}


STRINGS = {
    "NUL": "\0",
    "digits and NUL": "10035792220258260564\0",
    "a UUID and NUL": UNKNOWN_ID + "\0",
    "a UUID and a new line": UNKNOWN_ID + "\n",
    "a UUID in wide digits": UNKNOWN_ID.replace("2", "\uff12"),
    "half a megabyte": "x" * 500_000,
    "half a megabyte of digits": "1" * 500_000,
    "emoji": "\U0001f984" * 1_000,
    "text from right to left": "\u202e" + UNKNOWN_ID,
    "invisible text": "\u200b\ufeff\u2060",
    "a combining mark": "\u0301",
    "the last character": "\U0010ffff",
    "SQL": "'; DROP TABLE jobs; --",
    "a template": "%s %(job_id)s {0} {job_id} ${jndi:ldap://x}",
    "a path": "../../etc/passwd",
    "white space": " \t\r\n\u00a0\u2028",
}
