"""Every table, as a model. Others import the models from here."""

from storage.models.base import BaseModel
from storage.models.document import Document, Spool, SweptObject
from storage.models.job import Job, Request
from storage.models.portal import Court, Login, Portal, Share, Slot, Turn
from storage.models.scheduler import Leader, Worker
from storage.models.webhook import Event, Webhook, WebhookAttempt

# In the order in which they can be created: a table comes after those that it refers to.
ALL: tuple[type[BaseModel], ...] = (
    Job,
    Request,
    Document,
    Spool,
    SweptObject,
    Event,
    Webhook,
    WebhookAttempt,
    Slot,
    Turn,
    Share,
    Portal,
    Court,
    Login,
    Worker,
    Leader,
)

__all__ = [
    "ALL",
    "BaseModel",
    "Court",
    "Document",
    "Event",
    "Job",
    "Leader",
    "Login",
    "Portal",
    "Request",
    "Share",
    "Slot",
    "Spool",
    "SweptObject",
    "Turn",
    "Webhook",
    "WebhookAttempt",
    "Worker",
]
