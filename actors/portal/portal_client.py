"""The client of the PDPJ portal: list a case, stream a file.

It raises every answer but a good one as an error: see portal_answers.py.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import requests

from actors.case_file import pages
from actors.case_file.case_documents import unreadable
from actors.case_file.case_file import parse_case
from actors.case_file.links import trusted_href
from actors.contents.charsets import text_of
from actors.contents.content_checks import ContentCheck, refuse_too_large
from actors.contents.json_text import read_json
from actors.portal.framing import is_page_of_more, stated_pages
from actors.portal.listing_body import ListingBody, ListingTurn, ListingTurns
from actors.portal.portal_answers import not_found
from actors.portal.portal_exchange import (
    chunks,
    decoded,
    framing,
    limit_as_error,
)
from actors.portal.portal_requests import Exchange, PortalRequests
from actors.portal.portal_session import TokenSource
from actors.resilience.exchange_deadline import Deadline, Watchdog
from storage.errors import (
    LeaseLost,
    PermanentError,
    ServiceUnavailable,
    TransientError,
    before_request,
)
from storage.listings.listed_case import CaseListing
from storage.portal.document_claims import CheckedContent
from storage.portal.slots import court_of
from storage.refusals import RefusalWatch
from storage.telemetry.signals import COURT, NOOP_SIGNALS, Signals

# The court, and the seconds that an exchange with it took.
OnExchange = Callable[[str, float], object]


class ExpectedFile(Protocol):
    """The listing's data about a document's file. A ListedDocument has this interface."""

    @property
    def listed_size_bytes(self) -> int | None: ...

    @property
    def listed_content_type(self) -> str | None: ...

    @property
    def name(self) -> str: ...


class Portal:
    """The portal at `base_url` (scheme and host), with the token of `tokens`.

    Threads may share it. Timeouts are for each connection attempt and each read. Each call gets the
    total limit of its exchange, and `watchdog` enforces it. `on_exchange` is called with the
    duration of each exchange.
    """

    def __init__(
        self,
        *,
        base_url: str,
        tokens: TokenSource,
        watchdog: Watchdog,
        document_max_bytes: int,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 30.0,
        on_exchange: OnExchange | None = None,
        signals: Signals = NOOP_SIGNALS,
        ca_file: Path | None = None,
        watch: RefusalWatch | None = None,
        listing_dir: Path | None = None,
    ) -> None:
        """Open the portal.

        `ca_file`: see PortalSession. `watch`: publishes that the certificate is not trusted.
        `listing_dir`: the folder for the bodies of large listings; None: the system's.
        """
        self.listing_turns = ListingTurns()
        self._listing_dir = listing_dir
        self._tokens = tokens
        self._watchdog = watchdog
        self._document_max_bytes = document_max_bytes
        self._on_exchange = on_exchange
        self._signals = signals
        timeouts_s = (connect_timeout_s, read_timeout_s)
        self._requests = PortalRequests(
            base_url, tokens, timeouts_s, signals, ca_file=ca_file, watch=watch
        )

    def list_case(
        self,
        process_number: str,
        limit_s: float,
        deadline: Deadline | None = None,
        turn: ListingTurn | None = None,
        *,
        client: str = "",
    ) -> CaseListing:
        """Return every document of a case, within `limit_s` seconds; the number is punctuated.

        To end the call from another thread, pass a `deadline`, as to `fetch`. A large listing takes
        `turn`, and the caller releases it when the listing is used; without it, other large
        listings wait for this call only. `client`: of the job that needs the answer. A 401 counts
        as evidence of this client. Raises PermanentError (NOT_FOUND if the portal does not have the
        case) or TransientError; CredentialsRefused or ServiceUnavailable if there is no token to
        send, no room for a large listing, or no turn in time.
        """
        path = f"/processos/{process_number}"
        answer = self._answer(process_number, path, limit_s, deadline, client=client)
        with (
            answer as (response, running),
            contextlib.closing(ListingBody(self._listing_dir)) as body,
            self.listing_turns.turn() as own_turn,
        ):
            if is_page_of_more(response.headers):
                raise unreadable()
            for chunk in decoded(response, chunks(response, running)):
                body.add(chunk)
            if body.is_large:
                (turn or own_turn).take(running)
            case_json = _json(body, response.headers.get("Content-Type", ""))
            listing = parse_case(case_json, process_number)
            # Such a header may count the cases or the documents.
            size = max(1, len(listing.documents)) if listing else 0
            if pages.is_page_of_more(stated_pages(response.headers), size):
                raise unreadable()
            if listing is None:
                raise not_found()
            return replace(listing, answer=body.read())

    def fetch(
        self,
        process_number: str,
        href: str,
        sink: Callable[[bytes], object],
        *,
        expected: ExpectedFile,
        limit_s: float,
        client: str = "",
        deadline: Deadline | None = None,
        on_start: Callable[[int | None], object] | None = None,
    ) -> CheckedContent:
        """Fetch the file behind `href`, write it to `sink` piece by piece, and check it.

        The data in `sink` is valid only if this returns. `on_start` is called with the announced
        size in bytes (None: unknown) before the first piece. To end the call from another thread,
        open `watchdog.limit` in this thread, pass its `deadline` (`limit_s` is then not used) and
        `cut` it: this call then raises the cause. Raises PermanentError or TransientError
        otherwise, CredentialsRefused or ServiceUnavailable if there is no token to send. Errors of
        `sink` and `on_start` pass through.
        """
        with before_request():
            path = trusted_href(href, process_number)
            if path is None:
                raise PermanentError("UNTRUSTED_LINK", "The link is not one of this case's files.")
            refuse_too_large(expected.listed_size_bytes or 0, self._document_max_bytes)
        size = expected.listed_size_bytes
        # Without a size, nothing would show that this is a late answer to an earlier request. So no
        # earlier request was made on its connection.
        answer = self._answer(
            process_number, path, limit_s, deadline, size, is_fresh=not size, client=client
        )
        with answer as (response, running):
            framed = framing(response, size)
            check = self._check(expected, framed.length, response.headers.get("Content-Type"))
            if on_start:
                on_start(framed.length)
            pieces = chunks(response, running, cut_reason="CORRUPT")
            if framed.is_coded:
                pieces = decoded(response, pieces, cut_reason="CORRUPT")
            for piece in pieces:
                check.feed(piece)
                sink(piece)
            return check.finish(is_framed=framed.is_framed)

    def _check(
        self, expected: ExpectedFile, length: int | None, content_type: str | None
    ) -> ContentCheck:
        return ContentCheck(
            listed_size_bytes=expected.listed_size_bytes,
            listed_content_type=expected.listed_content_type,
            declared_length=length,
            header_content_type=content_type,
            name=expected.name,
            max_bytes=self._document_max_bytes,
        )

    def close(self) -> None:
        """Close all connections. No exchange may be running."""
        self._requests.close()

    @contextlib.contextmanager
    def _answer(
        self,
        process_number: str,
        path: str,
        limit_s: float,
        deadline: Deadline | None,
        listed_size_bytes: int | None = None,
        *,
        is_fresh: bool = False,
        client: str,
    ) -> Iterator[tuple[requests.Response, Deadline]]:
        """Return the answer 200 to a GET with its body unread. Raise every other answer as an
        error.

        If the block ends without an error, the answer was good.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(limit_as_error())
            court = court_of(process_number)
            stack.enter_context(self._timed(court))
            span = stack.enter_context(self._signals.request("portal", "GET", COURT, court))
            running = deadline or stack.enter_context(self._watchdog.limit(limit_s))
            exchange = Exchange(
                process_number, path, running, span, listed_size_bytes, is_fresh, client
            )
            response, token = self._requests.admitted(exchange)
            answered_at = time.monotonic()
            stack.callback(response.close)
            yield response, running
            self._tokens.accepted(token, answered_at)

    @contextlib.contextmanager
    def _timed(self, court: str) -> Iterator[None]:
        """Report the duration of the exchange, unless Autos itself ended it."""
        begun = time.monotonic()
        try:
            yield
        except (LeaseLost, ServiceUnavailable):
            begun = math.inf
            raise
        finally:
            if self._on_exchange and begun < math.inf:
                self._on_exchange(court, time.monotonic() - begun)


def _json(body: ListingBody, content_type: str) -> object:
    try:
        # The bytes and the text are not kept beside the objects.
        return read_json(text_of(body.read(), content_type))
    except (ValueError, RecursionError) as error:
        raise _no_case() from error


def _no_case() -> TransientError:
    return TransientError("PORTAL_ERROR", "The portal's answer is no case file.", is_few=True)
