"""The points at which the processes of each role can kill themselves.

Production code has no such points: this module wraps the functions at a point, in the process that
runs them, before it begins to work. A point is passed or reached; timing plays no part. No import
here may load Dramatiq, which reads its environment when it is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from uuid import UUID

from actors.hints.hint_channel import HintReceiver
from actors.leases import heartbeats
from actors.portal.portal_client import Portal
from actors.scheduler import sweeper
from actors.scheduler.policy import dispatcher
from actors.scheduler.policy.dispatcher import Plan
from actors.scheduler.policy.scheduler_state import SchedulerState
from actors.webhook.webhook_client import WebhookClient
from storage.documents import file_records
from storage.documents.file_records import Round
from storage.job_end import completion
from storage.jobs import job_queries
from storage.listings import listing_record
from storage.objects.object_store import Objects
from storage.objects.uploads import Upload, UploadSender
from storage.portal import attempts, document_claims
from storage.portal import request_claims as portal_claims
from storage.portal.listing_claims import ListingClaim
from storage.portal.request_claims import Claimed, Slice
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.webhooks import webhook_rows
from tests.killpoints.triggers import Triggers

Strike = Callable[[str, str], object]
Arguments = tuple[Any, ...]
MID_FILE_BYTES = 64 * 1024


def install(role: str, flags: Triggers) -> None:
    """Wrap the functions at the points of a role."""
    _SEAMS[role](functools.partial(flags.strike, role))


def hurry(*, short_lease_s: float) -> None:
    """Shorten waits that are not settings: the tests prove that they end, not how long they are."""
    heartbeats.BEAT_S = 1.0
    heartbeats.LEFTOVER_AGE_S = 2.0
    sweeper.MIN_INTERVAL_S = 1.0
    real = webhook_rows.claim

    def claim(
        database: Database, job_id: UUID, position: int, *, lease_s: float, **limits: Any
    ) -> Any:
        return real(database, job_id, position, lease_s=min(lease_s, short_lease_s), **limits)

    _replace(webhook_rows, "claim", claim)


def _replace(owner: Any, name: str, by: Callable[..., Any]) -> None:
    setattr(owner, name, by)


def _before(owner: Any, name: str, reached: Callable[[Arguments], object]) -> None:
    """Call `reached` with the arguments before every call of `owner.name`."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        reached(args)
        return real(*args, **kwargs)

    _replace(owner, name, wrapped)


def _after(owner: Any, name: str, reached: Callable[[Any, Arguments], object]) -> None:
    """Call `reached` with the result and the arguments after every call of `owner.name`."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        reached(result, args)
        return result

    _replace(owner, name, wrapped)


def _server(strike: Strike) -> None:
    from server.rpc.starts import start_batcher, start_steps

    def committed(found: Mapping[Any, Any], _: Arguments) -> None:
        for begun in found.values():
            if begun.is_new and not begun.view.job.is_ended:
                strike("committed-not-hinted", begun.view.job.process_number)

    _after(start_batcher.StartBatcher, "_begin", committed)
    _before(
        start_steps,
        "enqueue_first_step",
        lambda args: strike("committed-not-hinted", args[1].job.process_number),
    )
    _after(
        job_queries, "cancel", lambda view, _: strike("cancelled-not-told", view.job.process_number)
    )


def _worker(strike: Strike) -> None:
    def claimed(answer: Claimed, _: Arguments) -> None:
        match answer:
            case ListingClaim():
                strike("listing-claimed", answer.process_number)
            case Slice():
                strike("claimed", answer.process_number)

    def done(point: str) -> Callable[[Any, Arguments], object]:
        return lambda _, args: strike(point, args[1].process_number)

    for function in ("claim", "claim_any"):
        _after(portal_claims, function, claimed)
    _before(
        listing_record,
        "record",
        lambda args: strike("listing-not-recorded", args[1].process_number),
    )
    _after(listing_record, "record", done("listed-not-hinted"))
    _fetches(strike)
    # A small file is described anew just before its upload.
    _before(
        document_claims,
        "unrecorded_file",
        lambda args: strike("answered-not-put", args[0].process_number),
    )

    def spooled(_: object, args: Arguments) -> None:
        for file in args[1]:
            strike("spooled-not-sent", file.claim.process_number)

    _after(file_records, "record_fetched", spooled)
    _after(
        completion,
        "_end",
        lambda row, _: row and strike("ending-not-committed", row["process_number"]),
    )
    failed = done("failed-not-told")
    _after(attempts, "fail_attempt", lambda o, args: o.job_has_ended and failed(o, args))
    _storer(strike)


def _fetches(strike: Strike) -> None:
    """In the middle of a file, and between two requests of a slice."""
    real = Portal.fetch
    answered: set[UUID | None] = set()

    def fetch(self: Portal, number: str, href: str, sink: Any, **kwargs: Any) -> Any:
        written, token = 0, kwargs["expected"].slice_token
        if token in answered:
            strike("between-requests", number)

        def write(chunk: bytes) -> None:
            nonlocal written
            sink(chunk)
            written += len(chunk)
            if written >= MID_FILE_BYTES:
                strike("mid-download", number)

        content = real(self, number, href, write, **kwargs)
        answered.add(token)
        return content

    _replace(Portal, "fetch", fetch)


def _storer(strike: Strike) -> None:
    _mid_put(strike)
    _after(Objects, "put", lambda _, args: strike("stored-not-recorded", _number_in(args[1].key)))

    def recorded(done: Round, args: Arguments) -> None:
        for each in args[1]:
            if each.lease in done.recorded:
                # A small file leaves nothing to remove from a spool.
                point = "recorded-not-hinted" if each.file.slice_token else "recorded-not-removed"
                strike(point, each.file.process_number)
            if each.file.job_id in done.ended:
                strike("ended-not-told", each.file.process_number)

    _after(file_records, "record_stored", recorded)


def _mid_put(strike: Strike) -> None:
    real = UploadSender.send

    def send(self: UploadSender, upload: Upload, body: Any) -> None:
        file = BytesIO(body) if isinstance(body, bytes) else body
        tripwire: Any = _Tripwire(file, lambda: strike("mid-put", _number_in(upload.key)))
        real(self, upload, tripwire)

    _replace(UploadSender, "send", send)


class _Tripwire:
    """A file that calls `trip` before every read except the first, when a part has been sent."""

    def __init__(self, file: Any, trip: Callable[[], object]) -> None:
        self._file = file
        self._trip = trip
        self._has_begun = False

    def read(self, size: int = -1) -> bytes:
        if self._has_begun:
            self._trip()
        self._has_begun = True
        data: bytes = self._file.read(size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _number_in(key: str) -> str:
    """Return the digits of the case number in an object's key."""
    return key.split("/")[2]


def _notifier(strike: Strike) -> None:
    _after(
        webhook_rows,
        "claim",
        lambda delivery, _: delivery and strike("webhook-claimed", delivery.job.process_number),
    )
    # In trials the receiver's path ends with the digits of the case.
    _after(
        WebhookClient,
        "post",
        lambda _, args: strike("posted-not-recorded", args[1].rpartition("/")[2]),
    )


def _scheduler(strike: Strike) -> None:
    def taken_back(found: list[UUID], args: Arguments) -> None:
        for number in _numbers(args[0], found):
            strike("taken-back-not-told", number)

    _after(reconciliation, "reclaim", taken_back)
    proposed: list[str] = []

    def planned(made: Plan, args: Arguments) -> None:
        state: SchedulerState = args[0]
        for group in made.groups:
            run = state.runs.get(group.job_id)
            if run is not None:
                strike("planned-not-proposed", run.row.case)
                proposed.append(run.row.case)

    def received(_: Arguments) -> None:
        # The scheduler polls for hints again after the proposals of the previous pass were sent.
        while proposed:
            strike("proposed", proposed.pop())

    _after(dispatcher, "plan", planned)
    _before(HintReceiver, "receive", received)


def _numbers(database: Database, job_ids: list[UUID]) -> list[str]:
    if not job_ids:
        return []
    with database.transaction() as transaction:
        rows = transaction.all(
            "SELECT process_number FROM jobs WHERE job_id = ANY(%(ids)s)", ids=job_ids
        )
    return [row["process_number"] for row in rows]


_SEAMS: dict[str, Callable[[Strike], None]] = {
    "server": _server,
    "worker": _worker,
    "uploader": _storer,
    "notifier": _notifier,
    "scheduler": _scheduler,
}
