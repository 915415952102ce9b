"""Translate the errors of Valkey into errors of Autos: an outage, or a refusal with its code."""

from __future__ import annotations

import redis
from redis.sentinel import MasterNotFoundError, SlaveNotFoundError

from storage.errors import ServiceRefused, ServiceUnavailable
from storage.http.tls import failed_handshake, untrusted_certificate

PART = "Valkey"
NO_ANSWER = "NO_ANSWER"
# The answers that pass by themselves: a start, a failover, a script that runs too long.
PASSING_TEXT = "max number of clients"
PASSING = {"LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "READONLY"}


def meaning(error: BaseException) -> ServiceUnavailable:
    """Return the meaning of an error of redis. Its code is Valkey's own, if Valkey answered."""
    if certificate := untrusted_certificate(error):
        return _refused("CERTIFICATE_NOT_TRUSTED", certificate)
    code, text = failed_handshake(error)
    if code:
        return _refused(code, text)
    if isinstance(error, MasterNotFoundError | SlaveNotFoundError):
        return ServiceUnavailable(PART, code="NO_MASTER", answer=str(error))
    if isinstance(error, redis.AuthenticationError | redis.ResponseError):
        return _meaning_of_answer(error)
    if isinstance(error, redis.ConnectionError) and getattr(error, "status_code", None):
        return _meaning_of_answer(error)
    return ServiceUnavailable(PART, code=NO_ANSWER, answer=type(error).__name__)


def answered(text: str) -> tuple[str, str]:
    """Return code and text of an error of Valkey, ERR without a code."""
    code, _, rest = text.strip().partition(" ")
    is_code = code.isascii() and code.isalpha() and code.isupper()
    return (code, " ".join(rest.split())) if is_code else ("ERR", " ".join(text.split()))


def _meaning_of_answer(error: redis.RedisError) -> ServiceUnavailable:
    code = getattr(error, "status_code", None)
    code, text = (code, str(error)) if code else answered(str(error))
    if code in PASSING or text.startswith(PASSING_TEXT):
        return ServiceUnavailable(PART, code=code, answer=text)
    return _refused(code, text)


def _refused(code: str, answer: str) -> ServiceRefused:
    return ServiceRefused(PART, "commands", code, answer)
