"""A job with its webhooks as callers see it."""

from __future__ import annotations

from actors.contract_messages import job_message, webhook_message
from autos.downloads.v1 import downloads_pb2 as pb
from server.queue_view import Place
from storage.receivers import display
from storage.records import JobView


def message_of(view: JobView, place: Place | None = None) -> pb.Job:
    """The message of a job, with its place in the queue if there is one."""
    shown = [webhook_message(w, display(w.url)) for w in view.webhooks]
    return job_message(view.job, shown, place)
