"""Translate the errors of PostgreSQL, or of a pooler before it, into errors of Autos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import peewee
import psycopg2

from storage.errors import RowsLocked, ServiceRefused, ServiceUnavailable

PART = "PostgreSQL"
# SQLSTATEs (PostgreSQL, appendix A).
LOCK_NOT_AVAILABLE, READ_ONLY_SQL_TRANSACTION = "55P03", "25006"
INSUFFICIENT_PRIVILEGE = "42501"
# A session that ended because its transaction was too long: 25P03 idle, 25P04 in all.
TRANSACTION_TIMEOUTS = ("25P03", "25P04")
TOO_MANY_CONNECTIONS = "53300"
# An undefined table, function or schema: `release` has not run, or a restore is under way. An
# undefined column is a defect in Autos.
UNDEFINED = ("42P01", "42883", "3F000")
NAME_CAP = 200
RELEASE = "; if no restore is under way, run `python -m storage.release`"
# The class of internal errors, such as a corrupt index.
INTERNAL = "XX"
# Classes of transient errors: connection, invalid state, rollback, an object in use, and an
# intervention of an operator (a shutdown, a cancelled statement).
PASSING = ("08", "25", "40", "55", "57")
# The classes of errors that concern a whole session, and the class whose texts name an object.
OF_SESSION = ("08", "28", "3D", "57P", TOO_MANY_CONNECTIONS)
OF_NAMES = "42"
STATE_LENGTH = 5
# libpq returns the answer to an attempt to connect as text only. These texts are transient.
PASSING_TEXTS = (
    "the database system is",
    "the database is",
    "sorry, too many clients",
    "remaining connection slots",
    "too many connections for",
    # Of pgbouncer and Supavisor, whose clients or whose server have no free connection now.
    "no more connections allowed",
    "query_wait_timeout",
    "server login has been failing",
    "client_login_timeout",
    "pgbouncer cannot connect",
    "MaxClientsInSessionMode",
)
# The SQLSTATEs of the other texts, in the words of a server that speaks English.
REFUSED_PASSWORD, REFUSED_ROLE, NO_DATABASE = "28P01", "28000", "3D000"
TEXT_STATES = (
    (re.compile(r"password authentication failed"), REFUSED_PASSWORD),
    (re.compile(r'role "[^"]*" does not exist'), REFUSED_ROLE),
    (re.compile(r"is not permitted to log in|no such user"), REFUSED_ROLE),
    (re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects|authentication failed"), REFUSED_ROLE),
    (re.compile(r"requires a valid client certificate"), REFUSED_ROLE),
    (re.compile(r'database "[^"]*" does not exist|no such database'), NO_DATABASE),
    (re.compile(r"permission denied for database"), INSUFFICIENT_PRIVILEGE),
)
NOT_CONNECTED = "NOT_CONNECTED"
# These texts are permanent, although they have no SQLSTATE: libpq, TLS or a pooler refuses what the
# URL contains.
REFUSING_TEXTS = re.compile(
    r"does not support SSL|certificate verify failed|root certificate|does not match host name"
    r"|SSL error: .*alert|SSL required|no password supplied|channel binding required"
    r"|authentication method requirement|invalid integer value|invalid port number"
    r"|invalid \w+ value: |could not match \d+ |definition of service"
    r"|unrecognized configuration parameter|invalid value for parameter"
    r"|unsupported startup parameter"
)


def meaning(error: peewee.PeeweeException) -> ServiceUnavailable | None:
    """Return the meaning of an error of peewee, None if it is a defect in Autos."""
    cause = _cause(error)
    state = getattr(cause, "pgcode", None)
    if isinstance(error, peewee.OperationalError | peewee.InterfaceError):
        if state == LOCK_NOT_AVAILABLE:
            return RowsLocked(PART)
        return _unavailable(state, _answer(cause))
    if state is not None and _is_of_server(error, state):
        answer = _answer(cause)
        if state in UNDEFINED:
            # The signature of a function is long, and the log cuts an answer.
            answer = f"{answer[:NAME_CAP]}{RELEASE}"
        return _unavailable(state, answer)
    return None


def _is_of_server(error: peewee.PeeweeException, state: str) -> bool:
    """Return whether the server or its schema is at fault, and not a statement of Autos."""
    if isinstance(error, peewee.InternalError):
        # During a failover, the old server may still be readable.
        is_session = state in (READ_ONLY_SQL_TRANSACTION, *TRANSACTION_TIMEOUTS)
        return is_session or state.startswith(INTERNAL)
    # If the role lacks a privilege or the schema a part, an operator must act.
    return isinstance(error, peewee.ProgrammingError) and state in (
        INSUFFICIENT_PRIVILEGE,
        *UNDEFINED,
    )


def _cause(error: peewee.PeeweeException) -> BaseException:
    """Return the error of the driver.

    A session that the server ended fails again at the rollback. Then the first error has the
    server's code and text.
    """
    found: BaseException = error
    each: BaseException | None = error
    while isinstance(each, peewee.PeeweeException | psycopg2.Error):
        if isinstance(each, psycopg2.Error):
            found = each
            if each.pgcode is not None:
                break
        each = each.__cause__ or each.__context__
    return found


def _unavailable(state: str | None, answer: str) -> ServiceUnavailable:
    if state is None and REFUSING_TEXTS.search(answer):
        return ServiceRefused(PART, "session", NOT_CONNECTED, answer)
    is_refused = _is_fatal(answer) if state is None else not _is_passing(state)
    code = state or (_state_of(answer) if is_refused else "NO_ANSWER")
    if is_refused:
        return ServiceRefused(PART, "session", code, answer)
    return ServiceUnavailable(PART, code=code, answer=answer)


def refused_subject(error: ServiceUnavailable) -> str:
    """Return what a failure concerns if it concerns only some statements; empty for others."""
    code = error.code
    is_state = len(code) == STATE_LENGTH and any(each.isdigit() for each in code)
    if not is_state or code.startswith(OF_SESSION):
        return ""
    # The texts of other classes may contain a different file or number each time.
    return error.answer[:NAME_CAP] if code.startswith(OF_NAMES) else code


@contextmanager
def readable_answers() -> Iterator[None]:
    """Translate the refusal of a session in another encoding than UTF-8.

    Before a session exists, the server answers in the encoding of its own locale.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        text = error.object.decode("latin-1")
        raise psycopg2.OperationalError(text) from error


def connection_failure(error: psycopg2.OperationalError) -> ServiceUnavailable:
    """Return the meaning of a failed attempt to connect."""
    return _unavailable(error.pgcode, _answer(error))


def _is_passing(state: str) -> bool:
    return state.startswith(PASSING) or state == TOO_MANY_CONNECTIONS


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
