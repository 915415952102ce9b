"""Every table, as a model. Other modules import the models from here."""

from storage.models.base import BaseModel
from storage.models.case import CaseAnswer, CaseSecrecy
from storage.models.document import Document, SpoolState, SweptObject
from storage.models.installation import Installation, ServiceRefusal, SweepCandidate
from storage.models.job import Job
from storage.models.portal import Court, PortalLogin, PortalThrottle, RequestedCase, Slot
from storage.models.request import Batch, BatchItem, JobLabel, Request
from storage.models.scheduler import Leader, WorkerProcess
from storage.models.subscription import Subscription
from storage.models.webhook import (
    Event,
    EventNumbers,
    SilentReceiver,
    Webhook,
    WebhookAttempt,
    WebhookTest,
)

__all__ = [
    "BaseModel",
    "Batch",
    "BatchItem",
    "CaseAnswer",
    "CaseSecrecy",
    "Court",
    "Document",
    "Event",
    "EventNumbers",
    "Installation",
    "Job",
    "JobLabel",
    "Leader",
    "PortalLogin",
    "PortalThrottle",
    "Request",
    "RequestedCase",
    "ServiceRefusal",
    "SilentReceiver",
    "Slot",
    "SpoolState",
    "Subscription",
    "SweepCandidate",
    "SweptObject",
    "Webhook",
    "WebhookAttempt",
    "WebhookTest",
    "WorkerProcess",
]
