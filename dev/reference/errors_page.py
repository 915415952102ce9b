"""docs/reference/errors.md: every reason, with its status and the methods that can answer it."""

from __future__ import annotations

from collections.abc import Iterator

from dev.reference.contract import constants, refusals

HEAD = """\
# Errors and reasons

Reasons are stable strings for programs. The contract has a constant for each in the enums `RefusalReason`,
`HoldReason` and `FailureReason`.

## Refused calls

A refused call carries `google.rpc.ErrorInfo` with the domain `autos` and a reason. Beside it, by kind:

| detail | holds | with |
|---|---|---|
| `BadRequest` | each wrong field and what would be right | INVALID_ARGUMENT |
| `ResourceInfo` | the job or document that was requested | NOT_FOUND |
| `PreconditionFailure` | the state that prevents the call | FAILED_PRECONDITION |
| `QuotaFailure` | the limit of this client | RESOURCE_EXHAUSTED |
| `RetryInfo` | when to repeat the call; gRPC's own retries obey the trailer `grpc-retry-pushback-ms` | UNAVAILABLE, RESOURCE_EXHAUSTED |

How to read these details: [generate a client](../howto/generate-clients.md). INTERNAL has an `error_id` in the
metadata of ErrorInfo; the log has it too.
"""
HOLDS = """\
## Held jobs

`Job.hold` names what keeps a job from being served. The job goes on by itself; no attempt is counted. What an
operator can do: [troubleshoot](../howto/troubleshoot.md).
"""
FAILURES = """\
## Failed documents and jobs

`Document.error` and `Job.error` have these reasons. How often each is tried:
[document failures](document-failures.md).
"""
RESERVED = """\
## Constants without use

No method answers these reasons yet:
"""


def page() -> str:
    """Return the page, without the note that it is generated."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    yield "| reason | status | meaning | methods |\n|---|---|---|---|"
    statuses, methods = _promised()
    meanings = dict(constants("RefusalReason"))
    for reason, status in statuses.items():
        yield f"| `{reason}` | {status} | {meanings[reason]} | {_methods(methods[reason])} |"
    yield f"\n{HOLDS}"
    yield from _table("HoldReason")
    yield f"\n{FAILURES}"
    yield from _table("FailureReason")
    unused = [reason for reason in meanings if reason not in statuses]
    if unused:
        yield f"\n{RESERVED}"
        yield from (f"- `{reason}`: {meanings[reason]}" for reason in unused)
    yield ""


def _promised() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the status of each reason, and the methods that can answer it."""
    statuses: dict[str, str] = {}
    methods: dict[str, list[str]] = {}
    for method, reason, status in refusals():
        if statuses.setdefault(reason, status) != status:
            raise ValueError(f"{reason} has two statuses in the contract")
        methods.setdefault(reason, []).append(method)
    order = sorted(statuses, key=lambda reason: (statuses[reason], reason))
    return {reason: statuses[reason] for reason in order}, methods


def _methods(names: list[str]) -> str:
    return "all" if "" in names else ", ".join(names)


def _table(enum: str) -> Iterator[str]:
    yield "| reason | meaning |\n|---|---|"
    for reason, meaning in constants(enum):
        yield f"| `{reason}` | {meaning} |"
