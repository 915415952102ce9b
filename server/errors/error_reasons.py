"""The reasons with which a call can be refused, by RPC: the values of ErrorInfo.reason.

The contract's comments and docs/reference/errors.md list the same reasons; tests compare all three.
"""

from __future__ import annotations

from collections.abc import Mapping

# Every RPC can answer these.
OF_EVERY_RPC = frozenset(
    {
        "NO_TOKEN",
        "UNKNOWN_TOKEN",
        "INVALID_REQUEST",
        "MALFORMED_REQUEST",
        "UNAVAILABLE",
        "TOO_MANY_CALLS",
        "INTERNAL",
    }
)
# The further reasons of each RPC.
OF_RPC: Mapping[str, frozenset[str]] = {
    "StartDownload": frozenset(
        {
            "REQUEST_ID_REUSED",
            "CASE_NOT_ALLOWED",
            "TOO_MANY_WEBHOOKS",
            "TOO_MANY_STARTS",
            "TOO_MANY_JOBS",
        }
    ),
    "GetStatus": frozenset({"JOB_NOT_FOUND"}),
    "WatchProgress": frozenset({"JOB_NOT_FOUND", "TOO_MANY_WATCHES"}),
    "ListJobs": frozenset(),
    "ListDocuments": frozenset({"JOB_NOT_FOUND"}),
    "CancelJob": frozenset({"JOB_NOT_FOUND"}),
    "RetryJob": frozenset(
        {
            "JOB_NOT_FOUND",
            "JOB_NOT_ENDED",
            "CASE_NOT_ALLOWED",
            "CASE_ACTIVE",
            "NOTHING_TO_RETRY",
            "REQUEST_ID_REUSED",
            "TOO_MANY_JOBS",
        }
    ),
    "GetDocumentUrl": frozenset({"JOB_NOT_FOUND", "DOCUMENT_NOT_FOUND", "DOCUMENT_NOT_AVAILABLE"}),
    "RedeliverWebhook": frozenset(
        {"JOB_NOT_FOUND", "JOB_NOT_ENDED", "NO_WEBHOOK", "REQUEST_ID_REUSED"}
    ),
    "WaitJob": frozenset({"JOB_NOT_FOUND", "TOO_MANY_WATCHES"}),
    "GetDocument": frozenset({"JOB_NOT_FOUND", "DOCUMENT_NOT_FOUND"}),
    "ListEvents": frozenset({"EVENTS_GONE", "TOO_MANY_WATCHES"}),
    "GetCase": frozenset({"CASE_NOT_FOUND"}),
    "GetCaseListing": frozenset({"CASE_NOT_FOUND"}),
    "SubscribeCase": frozenset({"CASE_NOT_ALLOWED", "TOO_MANY_SUBSCRIPTIONS"}),
    "UnsubscribeCase": frozenset({"SUBSCRIPTION_NOT_FOUND"}),
    "ListSubscriptions": frozenset(),
    "SendTestWebhook": frozenset({"TOO_MANY_STARTS"}),
    "GetUsage": frozenset(),
    "StartDownloads": frozenset({"REQUEST_ID_REUSED", "TOO_MANY_STARTS"}),
    "GetBatch": frozenset({"BATCH_NOT_FOUND"}),
}


def reasons_of(rpc: str) -> frozenset[str]:
    """Return every reason with which this RPC can be refused."""
    return OF_EVERY_RPC | OF_RPC[rpc]
