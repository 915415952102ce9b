"""The dependencies of the service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from actors.hints.hint_channel import HintSender
from actors.messaging.enqueuer import Enqueuer
from server.queue.queue_view import QueueView
from server.watch.watch_hub import STALL_S
from storage.clients.webhook_secrets import WebhookSecrets
from storage.jobs.call_rate_limiter import CallRateLimiter
from storage.listings.size_limits import UNLIMITED, SizeLimits
from storage.login.login_values import Login
from storage.objects.object_store import Objects
from storage.portal.case_budget import NO_BUDGET, CaseBudget
from storage.postgres.database import Database
from storage.telemetry.tracing import NO_TRACER, Tracer
from storage.webhook_policy import WebhookPolicy

# Seconds that a call may spend on checking whether all files of a case are stored already.
REUSE_LIMIT_S = 2.0
# The threads of the pool, and the most of them that work for one client.
POOL_THREADS, CLIENT_THREADS = 16, 4
# Those of the pool that read long pages, each for another client.
PAGE_THREADS = 4


@dataclass(frozen=True)
class ServerDependencies:
    """The objects that all calls share. Each process makes them once."""

    database: Database
    objects: Objects
    messages: Enqueuer
    hints: HintSender
    receivers: WebhookPolicy
    pool: ThreadPoolExecutor
    redis_url: str
    listing_max_age_s: int
    job_deadline_s: int
    queue: QueueView
    login: Login
    start_rate: CallRateLimiter
    repeat_rate: CallRateLimiter
    webhook_secrets: WebhookSecrets
    size_limits: SizeLimits = UNLIMITED
    reuse_limit_s: float = REUSE_LIMIT_S
    stall_s: float = STALL_S
    tracer: Tracer = NO_TRACER
    budget: CaseBudget = NO_BUDGET
