"""Build and run the process `scheduler`."""

from __future__ import annotations

import threading
from functools import partial

import redis
import structlog

from actors.hints.hint_channel import HintReceiver, HintSender, make_client
from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.pipeline.job_end import JobEnds
from actors.runtime.role_parts import SEND_TIMEOUT_S, make_database
from actors.scheduler.leadership import Leadership
from actors.scheduler.look_starter import LookStarter
from actors.scheduler.loop import SchedulerLoop
from actors.scheduler.position_publisher import PlacePublisher
from actors.scheduler.proposer import Proposer
from actors.scheduler.reader import Reader
from actors.scheduler.repairs import Repairs
from actors.scheduler.sweeper import AnswerMover, Sweeper
from storage import logs
from storage.clients.client_registry import ClientLimits
from storage.clients.clients_file import ClientsFile
from storage.login.login_values import Login
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.refusals import STORE, RefusalWatch
from storage.settings import Settings
from storage.telemetry.process_signals import listen, scheduler_gauges, signals_of
from storage.valkey import ValkeyClock

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# For the loop, the leadership, the repairs, the sweeper, the mover of answers and the looks.
THREADS = 6


def run_scheduler(settings: Settings, stop: threading.Event) -> None:
    """Schedule and repair until `stop` is set.

    Raises ConfigurationError if the address of the metrics page is not available.
    """
    logs.configure(settings.log_format, process="scheduler")
    listener = listen(settings.metrics_listen, "scheduler") if settings.metrics_listen else None
    leaderships: list[Leadership] = []
    gauges = scheduler_gauges(lambda: any(each.term is not None for each in leaderships))
    with signals_of(settings, "scheduler", listener, gauges) as signals:
        database = make_database(settings, THREADS, signals)
        client = make_client(settings.redis_url)
        broker = make_broker(settings.redis_url, timeout_s=SEND_TIMEOUT_S)
        proposer = Proposer(broker, ValkeyClock(client))
        leadership = Leadership(database, proposer.can_send)
        # The page is served before the leadership exists.
        leaderships.append(leadership)
        limits = Limits.of(settings)
        _repairs(settings, database, client, Enqueuer(broker), leadership).start(stop)
        watch = RefusalWatch(STORE, database)
        objects = Objects(ObjectStore.of(settings), max_connections=3, watch=watch)
        Sweeper(database, objects, settings.orphan_age_s).start(stop)
        AnswerMover(database, objects, lambda: leadership.term is not None).start(stop)
        LookStarter(
            database,
            _clients(settings),
            lambda: leadership.term is not None,
            settings.job_deadline_s,
        ).start(stop)
        log.info("scheduler running")
        SchedulerLoop(
            leadership=leadership,
            # Longer than the longest wait for a hint.
            hints=HintReceiver(make_client(settings.redis_url, timeout_s=SEND_TIMEOUT_S)),
            make_reader=partial(Reader, database, limits, Login.of(settings)),
            propose=proposer.send,
            limits=limits,
            places=PlacePublisher(client),
            on_pass=signals.scheduler_passed,
        ).run(stop)


def _clients(settings: Settings) -> ClientsFile | None:
    path = settings.clients_file
    return ClientsFile(path, ClientLimits.of(settings)) if path else None


def _repairs(
    settings: Settings,
    database: Database,
    client: redis.Redis,
    messages: Enqueuer,
    leadership: Leadership,
) -> Repairs:
    """Return the repairs that run while this process leads."""
    return Repairs(
        database=database,
        redis=client,
        messages=messages,
        ends=JobEnds(database, messages, HintSender(client)),
        is_leading=lambda: leadership.term is not None,
        lease_s=settings.lease_s,
        interval_s=settings.clock_interval_ms / 1000,
        event_age_s=settings.event_retention_days * 86_400,
    )
