"""Why TLS refused a request: the server's certificate is not trusted, or a handshake failed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

# The connection ended: that is no word of TLS.
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def untrusted_certificate(error: BaseException | None) -> str:
    """Return why a certificate was refused; empty if something else went wrong."""
    return next(
        (
            str(e.verify_message)
            for e in _of_ssl(error)
            if isinstance(e, ssl.SSLCertVerificationError)
        ),
        "",
    )


def failed_handshake(error: BaseException | None) -> tuple[str, str]:
    """Return OpenSSL's code and text for what failed in TLS; empty if nothing did.

    An alert of the server (it wants a certificate, say), or a version that is not accepted.
    """
    found = (e for e in _of_ssl(error) if e.reason and not isinstance(e, _ENDED))
    return next(((e.reason, str(e.strerror or "")) for e in found), ("", ""))


def _of_ssl(error: BaseException | None) -> Iterator[ssl.SSLError]:
    """Return the errors of ssl in an error.

    urllib3 and requests wrap them in several others, as a cause, reason or argument.
    """
    seen: set[int] = set()
    wrapped: list[object] = [error]
    while wrapped:
        each = wrapped.pop()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ssl.SSLError):
            yield each
        wrapped += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
