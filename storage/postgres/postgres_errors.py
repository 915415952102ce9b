"""Translate the errors of PostgreSQL, or of a pooler before it, into errors of Autos."""

from __future__ import annotations

import re

import peewee
import psycopg2

from storage.errors import RowsLocked, ServiceRefused, ServiceUnavailable

PART = "PostgreSQL"
# SQLSTATEs (PostgreSQL, appendix A).
LOCK_NOT_AVAILABLE, READ_ONLY_SQL_TRANSACTION = "55P03", "25006"
INSUFFICIENT_PRIVILEGE = "42501"
# Classes of transient errors: connection, invalid state, rollback, an object in use, and an
# intervention of an operator (a shutdown, a cancelled statement).
PASSING = ("08", "25", "40", "55", "57")
# libpq returns the answer to an attempt to connect as text only. These texts are transient.
PASSING_TEXTS = (
    "the database system is",
    "the database is",
    "sorry, too many clients",
    "remaining connection slots",
    "too many connections for",
)
# The SQLSTATEs of the other texts, in the words of a server that speaks English.
REFUSED_PASSWORD, REFUSED_ROLE, NO_DATABASE = "28P01", "28000", "3D000"
TEXT_STATES = (
    (re.compile(r"password authentication failed"), REFUSED_PASSWORD),
    (re.compile(r'role "[^"]*" does not exist'), REFUSED_ROLE),
    (re.compile(r"is not permitted to log in"), REFUSED_ROLE),
    (re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects|authentication failed"), REFUSED_ROLE),
    (re.compile(r'database "[^"]*" does not exist'), NO_DATABASE),
    (re.compile(r"permission denied for database"), INSUFFICIENT_PRIVILEGE),
)
NOT_CONNECTED = "NOT_CONNECTED"
# These texts are permanent, although no server has given them a severity.
REFUSING_TEXTS = (
    "does not support SSL",
    "certificate verify failed",
    "root certificate",
    "does not match host name",
    "no password supplied",
)


def meaning(error: peewee.PeeweeException) -> ServiceUnavailable | None:
    """Return the meaning of an error of peewee, None if it is a defect in Autos."""
    cause = error.__cause__ or error.__context__
    state = getattr(cause, "pgcode", None)
    if isinstance(error, peewee.OperationalError | peewee.InterfaceError):
        if state == LOCK_NOT_AVAILABLE:
            return RowsLocked(PART)
        return _unavailable(state, _answer(cause or error))
    # During a failover, the old server may still be readable.
    if isinstance(error, peewee.InternalError) and state == READ_ONLY_SQL_TRANSACTION:
        return _unavailable(state, _answer(cause or error))
    # If the role lacks a privilege, an operator must grant it.
    if isinstance(error, peewee.ProgrammingError) and state == INSUFFICIENT_PRIVILEGE:
        return _unavailable(state, _answer(cause or error))
    return None


def _unavailable(state: str | None, answer: str) -> ServiceUnavailable:
    if state is None and any(text in answer for text in REFUSING_TEXTS):
        return ServiceRefused(PART, "session", NOT_CONNECTED, answer)
    is_refused = _is_fatal(answer) if state is None else not state.startswith(PASSING)
    code = state or (_state_of(answer) if is_refused else "NO_ANSWER")
    if is_refused:
        return ServiceRefused(PART, "session", code, answer)
    return ServiceUnavailable(PART, code=code, answer=answer)


def connection_failure(error: psycopg2.OperationalError) -> ServiceUnavailable:
    """Return the meaning of a failed attempt to connect."""
    return _unavailable(error.pgcode, _answer(error))


def _state_of(answer: str) -> str:
    """Return the SQLSTATE of a text, FATAL for an unknown one."""
    return next((state for text, state in TEXT_STATES if text.search(answer)), "FATAL")


def _is_fatal(answer: str) -> bool:
    _, fatal, text = answer.partition("FATAL:")
    return bool(fatal) and not text.strip().startswith(PASSING_TEXTS)


def _answer(error: BaseException) -> str:
    """Return the text, without the statement and its values, on one line."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return " ".join((primary or str(error)).split())
