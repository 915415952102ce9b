"""The reason why TLS refused a request: an untrusted certificate, or a failed handshake."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

# The connection ended, without an error of TLS.
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def untrusted_certificate(error: BaseException | None) -> str:
    """Return why a certificate was refused; empty if another error occurred."""
    return next(
        (
            str(e.verify_message)
            for e in _of_ssl(error)
            if isinstance(e, ssl.SSLCertVerificationError)
        ),
        "",
    )


def failed_handshake(error: BaseException | None) -> tuple[str, str]:
    """Return OpenSSL's code and text for a TLS failure; empty if there was none.

    A failure is, for example, an alert of the server (it requires a certificate), or a version that
    is not accepted.
    """
    found = (e for e in _of_ssl(error) if e.reason and not isinstance(e, _ENDED))
    return next(((e.reason, str(e.strerror or "")) for e in found), ("", ""))


def _of_ssl(error: BaseException | None) -> Iterator[ssl.SSLError]:
    """Return the errors of ssl inside an error.

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
