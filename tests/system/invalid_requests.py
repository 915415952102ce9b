"""Invalid requests by name, each with its invalid fields and a part of each message."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import Message

from autos.downloads.v1 import downloads_pb2 as pb
from tests.sandbox.court_cases.cnj import process_number
from tests.system.invalid_values import (
    FORBIDDEN_URLS,
    NO_DURATIONS,
    NO_UUIDS,
    UNKNOWN_ID,
    seconds,
)

GOOD_NUMBER = process_number(7_000_001)


@dataclass(frozen=True)
class Known:
    """Existing jobs, and page tokens that are valid for them."""

    job: pb.Job
    other: pb.Job
    document_id: str
    others_document_id: str
    request_id: str
    jobs_token: str
    case_token: str
    documents_token: str
    available_token: str
    others_token: str


def forged(token: str, *rest: object) -> str:
    """Return a token for the same call as `token` that points elsewhere."""
    made_for = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))[0]
    return _sealed([made_for, *rest])


def _sealed(parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


Make = Callable[[Known], Message]


class Wrong(NamedTuple):
    """An invalid request, and for each invalid field a part of its error message."""

    method: str
    request: Message | Make
    fields: dict[str, str]


def _wrong_starts() -> Iterator[tuple[str, Wrong]]:
    def start_with(**fields: Any) -> Message:
        return pb.StartDownloadRequest(**({"process_number": GOOD_NUMBER} | fields))

    form = "must be NNNNNNN-DD.AAAA.J.TR.OOOO or the same 20 digits"
    digits = GOOD_NUMBER[8:10]
    numbers = {
        "no number": ("", form),
        "blank": ("   ", form),
        "letters": ("processo", form),
        "a digit missing": (GOOD_NUMBER[:-1], form),
        "a digit too many": (GOOD_NUMBER + "0", form),
        "half the punctuation": (GOOD_NUMBER.replace(".", ""), form),
        "a URL": ("https://host/" + GOOD_NUMBER, form),
        "wide digits": (GOOD_NUMBER.replace("7", "\uff17"), form),
        "check digits off by one": (
            GOOD_NUMBER.replace(f"-{digits}.", f"-{int(digits) % 98 + 1:02d}."),
            f"must be {digits}, not",
        ),
        "check digits 00": (
            GOOD_NUMBER.replace(f"-{digits}.", "-00."),
            f"must be {digits}, not 00",
        ),
        "a digit swapped": ("1003579-22.2025.8.26.0565", "the check digits must be"),
        "no such court": (process_number(1, court="8.28"), "no court 8.28"),
        "no such branch": (process_number(1, court="0.01"), "no court 0.01"),
        "no such military court": (process_number(1, court="9.14"), "no court 9.14"),
    }
    for name, (number, text) in numbers.items():
        yield (
            name,
            Wrong("StartDownload", start_with(process_number=number), {"process_number": text}),
        )
    for name, (url, text) in FORBIDDEN_URLS.items():
        yield (
            f"webhook: {name}",
            Wrong("StartDownload", start_with(webhook_url=url), {"webhook_url": text}),
        )
    for text in NO_UUIDS:
        yield (
            f"request_id {text!r}",
            Wrong("StartDownload", start_with(request_id=text), {"request_id": "must be a UUID"}),
        )
    for name, duration in NO_DURATIONS.items():
        yield (
            f"max_age {name}",
            Wrong("StartDownload", start_with(max_age=duration), {"max_age": "zero or more"}),
        )
    choices: dict[str, dict[str, Any]] = {
        "labels": {"labels": {f"k{n}": "v" for n in range(17)}},
        "selection.document_ids": {"selection": {"document_ids": ["x"]}},
        "selection.filed_to_date": {
            "selection": {"filed_from_date": "2025-06-02", "filed_to_date": "2025-06-01"}
        },
        "not_before_time": {"not_before_time": {"seconds": int(time.time()) + 31 * 86_400}},
        "retention": {"retention": seconds(3_600)},
    }
    for field, fields in choices.items():
        yield field, Wrong("StartDownload", start_with(**fields), {field: "must"})
    yield (
        "an unknown priority",
        Wrong("StartDownload", start_with(priority=99), {"priority": "a value of PRIORITY_"}),
    )
    yield (
        "everything wrong",
        Wrong(
            "StartDownload",
            pb.StartDownloadRequest(
                process_number="x",
                webhook_url="ftp://host/",
                request_id="x",
                max_age=seconds(-1),
                priority=-1,  # type: ignore[arg-type]
            ),
            {
                "process_number": form,
                "webhook_url": "http:// or https://",
                "request_id": "must be a UUID",
                "max_age": "zero or more",
                "priority": "a value of PRIORITY_",
            },
        ),
    )


def _wrong_subscriptions() -> Iterator[tuple[str, Wrong]]:
    intervals = {"59 min": 59 * 60, "31 days": 31 * 86_400, "negative": -86_400}
    for name, length_s in intervals.items():
        request = pb.SubscribeCaseRequest(process_number=GOOD_NUMBER, interval=seconds(length_s))
        yield (
            f"interval {name}",
            Wrong("SubscribeCase", request, {"interval": "must be 1 hour to 30 days"}),
        )
    yield (
        "everything wrong in SubscribeCase",
        Wrong(
            "SubscribeCase",
            pb.SubscribeCaseRequest(
                process_number="x",
                webhook_url="ftp://host/",
                selection=pb.Selection(max_size_bytes=-1),
                labels={"a b": ""},
            ),
            {
                "process_number": "must",
                "webhook_url": "http:// or https://",
                "selection.max_size_bytes": "must not be negative",
                "labels": "keys must be",
            },
        ),
    )
    yield (
        "a page of no subscriptions",
        Wrong(
            "ListSubscriptions",
            pb.ListSubscriptionsRequest(page_size=-1, page_token="x"),
            {"page_size": "0 means 50", "page_token": "leave it empty"},
        ),
    )
    number = pb.UnsubscribeCaseRequest(process_number="x")
    yield "unsubscribe x", Wrong("UnsubscribeCase", number, {"process_number": "must"})


def _wrong_targets() -> Iterator[tuple[str, Wrong]]:
    for method in ("GetStatus", "WatchProgress", "WaitJob"):
        make = getattr(pb, f"{method}Request")
        yield f"{method} of nothing", Wrong(method, make(), {"target": "exactly one of job_id"})
        yield f"{method} job_id", Wrong(method, make(job_id="x"), {"job_id": "must be a UUID"})
        yield f"{method} of an empty id", Wrong(method, make(job_id=""), {"job_id": "must be a"})
        yield (
            f"{method} process_number",
            Wrong(method, make(process_number="x"), {"process_number": "must be NNNNNNN-DD"}),
        )


def _wrong_watches() -> Iterator[tuple[str, Wrong]]:
    def watch_of(revision: int) -> Make:
        return lambda known: pb.WatchProgressRequest(
            job_id=known.job.job_id, after_revision=revision
        )

    def just_ahead(known: Known) -> Message:
        return pb.WatchProgressRequest(
            job_id=known.job.job_id, after_revision=known.job.revision + 1
        )

    def by_number(known: Known) -> Message:
        return pb.WatchProgressRequest(process_number=known.job.process_number, after_revision=1)

    negative = {"after_revision": "must not be negative"}
    yield "revision -1", Wrong("WatchProgress", watch_of(-1), negative)
    yield "revision -2**63", Wrong("WatchProgress", watch_of(-(2**63)), negative)
    yield "one ahead", Wrong("WatchProgress", just_ahead, {"after_revision": "whose revision is"})
    yield "far ahead", Wrong("WatchProgress", watch_of(2**63 - 1), {"after_revision": "is ahead"})
    yield "by number", Wrong("WatchProgress", by_number, {"after_revision": "job_id only"})
    yield (
        "nothing and negative",
        Wrong(
            "WatchProgress",
            pb.WatchProgressRequest(after_revision=-1),
            {"target": "exactly one", "after_revision": "must not be negative"},
        ),
    )


def _wrong_pages() -> Iterator[tuple[str, Wrong]]:
    def jobs(**fields: Any) -> Message:
        return pb.ListJobsRequest(**fields)

    def job_documents(**fields: Any) -> Make:
        return lambda known: pb.ListDocumentsRequest(job_id=known.job.job_id, **fields)

    for size in (-1, -(2**31)):
        yield f"jobs {size}", Wrong("ListJobs", jobs(page_size=size), {"page_size": "0 means 50"})
        yield (
            f"documents {size}",
            Wrong("ListDocuments", job_documents(page_size=size), {"page_size": "0 means 100"}),
        )
    for state in (0, 7, 99, -1):
        yield f"job state {state}", Wrong("ListJobs", jobs(states=[3, state]), {"states": "JOB_ST"})
    for state in (0, 8, 99, -1):
        yield (
            f"document state {state}",
            Wrong("ListDocuments", job_documents(states=[state]), {"states": "DOCUMENT_STATE_*"}),
        )
    yield "jobs of no case", Wrong("ListJobs", jobs(process_number="x"), {"process_number": "must"})
    yield (
        "all of ListDocuments",
        Wrong(
            "ListDocuments",
            pb.ListDocumentsRequest(
                job_id="x", page_size=-1, states=["DOCUMENT_STATE_UNSPECIFIED"], page_token="x"
            ),
            {"job_id": "UUID", "page_size": "negative", "states": "values", "page_token": "empty"},
        ),
    )
    yield (
        "all of ListJobs",
        Wrong(
            "ListJobs",
            jobs(process_number="x", page_size=-1, states=[0], page_token="x"),
            {"process_number": "must", "page_size": "not", "states": "of", "page_token": "leave"},
        ),
    )


def _jobs_at(token: Callable[[Known], str]) -> Make:
    return lambda known: pb.ListJobsRequest(page_token=token(known))


def _documents_at(token: Callable[[Known], str]) -> Make:
    return lambda known: pb.ListDocumentsRequest(job_id=known.job.job_id, page_token=token(known))


def _at(place: object) -> Callable[[Known], str]:
    return lambda known: forged(known.documents_token, place)


def _url(**fields: Any) -> Make:
    def make(known: Known) -> Message:
        good = {"job_id": known.job.job_id, "document_id": known.document_id}
        return pb.GetDocumentUrlRequest(**(good | fields))

    return make


def _wrong_tokens() -> Iterator[tuple[str, Wrong]]:
    violation = {"page_token": "leave it empty for the first page"}
    foreign: dict[str, Callable[[Known], str]] = {
        "garbage": lambda _: "garbage",
        "no base64": lambda _: "!!!!",
        "huge": lambda _: "A" * 100_000,
        "no UTF-8": lambda _: base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode(),
        "deep JSON": lambda _: base64.urlsafe_b64encode(b"[" * 300).decode(),
        "a number": lambda _: _sealed(1),
        "an object": lambda _: _sealed({"a": 1}),
        "an empty list": lambda _: _sealed([]),
        "null": lambda _: _sealed(None),
        "another fingerprint": lambda _: _sealed(["0" * 16, 1]),
    }
    of_jobs: dict[str, Callable[[Known], str]] = foreign | {
        "of ListDocuments": lambda known: known.documents_token,
        "of another filter": lambda known: known.case_token,
        "without a place": lambda known: forged(known.jobs_token),
        "with a number": lambda known: forged(known.jobs_token, 1),
        "with two numbers": lambda known: forged(known.jobs_token, 1, 2),
        "with no time": lambda known: forged(known.jobs_token, "yesterday", UNKNOWN_ID),
        "with no zone": lambda known: forged(known.jobs_token, "2026-01-01T00:00", UNKNOWN_ID),
        "before all time": lambda known: forged(
            known.jobs_token, "0001-01-01T00:00:00+23:59", UNKNOWN_ID
        ),
        "after all time": lambda known: forged(
            known.jobs_token, "9999-12-31T23:59:59-23:59", UNKNOWN_ID
        ),
        "with no id": lambda known: forged(known.jobs_token, "2026-01-01T00:00:00Z", "x"),
        "with booleans": lambda known: forged(known.jobs_token, True, False),
    }
    of_documents: dict[str, Callable[[Known], str]] = foreign | {
        "of ListJobs": lambda known: known.jobs_token,
        "of another job": lambda known: known.others_token,
        "of another filter": lambda known: known.available_token,
        "without a place": lambda known: forged(known.documents_token),
        "with two places": lambda known: forged(known.documents_token, 1, 2),
        **{
            f"at {place!r}": _at(place)
            for place in (True, False, -1, 2**31, 10**90, 0.5, "1", None, [1], float("nan"))
        },
    }
    for name, token in of_jobs.items():
        yield (
            f"jobs token {name}",
            Wrong("ListJobs", _jobs_at(token), violation),
        )
    for name, token in of_documents.items():
        yield (
            f"documents token {name}",
            Wrong(
                "ListDocuments",
                _documents_at(token),
                violation,
            ),
        )


def _wrong_ids() -> Iterator[tuple[str, Wrong]]:
    uuid = "must be a UUID"
    for text in ("", *NO_UUIDS):
        yield (
            f"cancel {text!r}",
            Wrong("CancelJob", pb.CancelJobRequest(job_id=text), {"job_id": uuid}),
        )
        yield (
            f"retry {text!r}",
            Wrong("RetryJob", pb.RetryJobRequest(job_id=text), {"job_id": uuid}),
        )
        yield (
            f"redeliver {text!r}",
            Wrong("RedeliverWebhook", pb.RedeliverWebhookRequest(job_id=text), {"job_id": uuid}),
        )
        yield (
            f"documents of {text!r}",
            Wrong("ListDocuments", pb.ListDocumentsRequest(job_id=text), {"job_id": uuid}),
        )
        yield (
            f"URL of {text!r}",
            Wrong(
                "GetDocumentUrl",
                _url(document_id=text),
                {"document_id": uuid},
            ),
        )
        yield (
            f"document {text!r}",
            Wrong(
                "GetDocument",
                pb.GetDocumentRequest(job_id=UNKNOWN_ID, document_id=text),
                {"document_id": uuid},
            ),
        )
    too_short = {"none": seconds(), "half a second": seconds(nanos=500_000_000)}
    for name, lifetime in (NO_DURATIONS | too_short).items():
        yield (
            f"lifetime {name}",
            Wrong(
                "GetDocumentUrl",
                _url(lifetime=lifetime),
                {"lifetime": "must be"},
            ),
        )
    for method in ("RetryJob", "RedeliverWebhook"):
        everything = getattr(pb, f"{method}Request")(job_id="x", request_id="x")
        yield (
            f"everything of {method}",
            Wrong(method, everything, {"job_id": uuid, "request_id": uuid}),
        )
    yield (
        "everything of a URL",
        Wrong(
            "GetDocumentUrl",
            pb.GetDocumentUrlRequest(lifetime=seconds(-1)),
            {"job_id": uuid, "document_id": uuid, "lifetime": "zero or more"},
        ),
    )


WRONG = dict(
    (
        *_wrong_starts(),
        *_wrong_subscriptions(),
        *_wrong_targets(),
        *_wrong_watches(),
        *_wrong_pages(),
        *_wrong_tokens(),
        *_wrong_ids(),
    )
)
