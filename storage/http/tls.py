"""Whether a request failed because the server's certificate is not trusted."""

from __future__ import annotations

import ssl


def untrusted_certificate(error: BaseException | None) -> str:
    """Return why a certificate was refused; empty if something else went wrong.

    urllib3 and requests wrap the error of ssl in several others, as a cause, reason or argument.
    """
    seen: set[int] = set()
    wrapped: list[object] = [error]
    while wrapped:
        each = wrapped.pop()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ssl.SSLCertVerificationError):
            return str(each.verify_message)
        wrapped += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return ""
