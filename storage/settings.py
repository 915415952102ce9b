"""The settings: one frozen object, read from the environment at the entry points only."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

from storage.environment import plaintext
from storage.environment.plaintext import is_loopback_host
from storage.environment.secret_files import read_secret_files
from storage.environment.sentinel_url import (
    SENTINEL_SCHEMES,
    is_sentinel_url,
    parse_sentinel_url,
)
from storage.errors import ConfigurationError
from storage.webhook_policy import AllowRule

T = TypeVar("T")

# The exact values that allow, beyond loopback, calls without clients and connections without TLS.
IN_SO_MANY_WORDS = {
    "AUTOS_WITHOUT_CLIENTS": "serve-anyone-who-can-reach-me",
    "GRPC_PLAINTEXT": "tls-ends-in-front-of-me",
    **dict.fromkeys(plaintext.ALLOWED_BY.values(), plaintext.TRUSTED),
}
# Of 24 random bytes, fewer are distinct less than once in 10^12 keys.
DISTINCT_BYTES = 12
WEBHOOK_WORD = "events-may-be-read-on-the-way"
PORTAL_URL = "https://portaldeservicos.pdpj.jus.br"
# The processes that use a required setting, by their names in the Procfile. Others: all of them.
# Server and scheduler compare the portal's login with the one that a hold names.
USED_BY = {
    "REDIS_URL": ("server", "worker", "uploader", "notifier", "scheduler"),
    "PDPJ_TOKEN": ("server", "worker", "scheduler"),
    "WEBHOOK_SECRET": ("server", "notifier"),
    "GRPC_LISTEN": ("server",),
}
MIB = 1024 * 1024
MOST_CASES = 1_000_000
# The largest object that S3 accepts in one PUT.
MOST_IN_ONE_PUT = 5 * 1024 * MIB


@dataclass(frozen=True)
class Settings:
    """All settings. Names carry the units; docs/reference/settings.md has the comments."""

    # == PostgreSQL, Valkey and the object store

    # URL of PostgreSQL 15 or newer. Its own `connect_timeout`, `options` and `keepalives` are used
    # as they are.
    # A pooler may stand before PostgreSQL: [use a pooler](../howto/deploy/use-a-pooler.md).
    database_url: str = field(repr=False)
    # Valkey, or Redis 6.2 or newer: Dramatiq's queues, hints and notifications. Use a database of
    # its own. By TCP, TLS, a Unix socket or Sentinels: see [servers](servers.md#valkey-or-redis).
    redis_url: str = field(repr=False)
    # Endpoint of the object store's S3 API.
    s3_endpoint_url: str
    # PEM file of the certificate authorities that may sign the endpoint's certificate. Unset: those
    # that browsers trust.
    s3_ca_file: Path | None
    # `role`: the keys of a role, which the AWS_... variables of the platform name, or else the
    # machine: see [servers](servers.md#s3). `keys`: those of the next three settings.
    s3_credentials: str
    # Access key of the object store. Required unless `S3_CREDENTIALS=role`.
    s3_access_key_id: str = field(repr=False)
    # Secret key of the object store. Required unless `S3_CREDENTIALS=role`.
    s3_secret_access_key: str = field(repr=False)
    # Session token of temporary keys.
    s3_session_token: str | None = field(repr=False)
    # Endpoint that exchanges the token of a web identity for keys. Unset: the one of AWS.
    s3_sts_url: str | None
    # Bucket. `release` makes it if it is missing and marks it as this installation's.
    s3_bucket: str
    # Prefix of every key, such as `team/autos`. Several installations share a bucket if their
    # prefixes differ. Documents that are stored already keep their keys.
    s3_prefix: str
    # Region in every signature.
    s3_region: str
    # Endpoint in presigned URLs. Unset: `S3_ENDPOINT_URL`.
    s3_public_endpoint_url: str

    # == The portal

    # Scheme and host of the portal.
    pdpj_base_url: str
    # PEM file of the certificate authorities that may sign the certificates of the portal and its
    # login. Unset: those that browsers trust.
    pdpj_ca_file: Path | None
    # Bearer token for the portal, used as it is. Required unless `PDPJ_TOKEN_URL` is set.
    pdpj_token: str | None = field(repr=False)
    # Token endpoint (OpenID Connect) for a login instead of `PDPJ_TOKEN`: see
    # [log in to the portal](../howto/log-in-to-portal.md).
    pdpj_token_url: str | None
    # Client of the login.
    pdpj_client_id: str | None
    # Secret of the login's client (grant `client_credentials`).
    pdpj_client_secret: str | None = field(repr=False)
    # Refresh token of the login (grant `refresh_token`). The newest one is kept in the database.
    pdpj_refresh_token: str | None = field(repr=False)
    # Keys that encrypt the portal's tokens in the database. The first one encrypts, all of them
    # decrypt. Required with `PDPJ_TOKEN_URL`.
    encryption_keys: tuple[str, ...] = field(repr=False)
    # Requests at the portal at once, over all jobs, processes and hosts.
    pdpj_max_concurrent: int
    # Requests at one court (J.TR of the case number) at once.
    pdpj_max_concurrent_per_court: int
    # Requests per minute, evenly spaced. Unset: no rate.
    pdpj_max_per_minute: int | None
    # Different cases that may be listed at the portal within 24 h. A case that is listed again
    # within that time counts once. Jobs beyond it wait. Unset: no limit. Give every server and
    # worker the same four budgets: see [tune the portal's limits](../howto/tune-portal-limits.md).
    pdpj_cases_per_day: int | None
    # The same within 30 days.
    pdpj_cases_per_30_days: int | None
    # The same within 24 h, of single courts (J.TR of the case number), such as `5.12=100`.
    # Comma-separated.
    pdpj_cases_per_day_by_court: Mapping[str, int]
    # The same within 30 days, such as `5.02=1500,5.15=1500`.
    pdpj_cases_per_30_days_by_court: Mapping[str, int]
    # Milliseconds of the first pause after a 429 without Retry-After; doubled each time, 5 min at
    # most.
    pdpj_pause_base_ms: int
    # Milliseconds until the first probe of an unavailable court; doubled each time, 60 s at most.
    pdpj_probe_base_ms: int
    # Seconds after which a probe requests the listing instead of a file.
    pdpj_probe_patience_s: int

    # == The gRPC server and its clients

    # host:port of the gRPC server. Beyond loopback it requires clients and TLS: see
    # [authenticate clients](../howto/authenticate-clients.md).
    grpc_listen: str
    # Certificate chain of the server, PEM. Read again when it changes. Unset: no TLS.
    grpc_tls_cert_file: Path | None
    # Private key of the server, PEM, without password. Read again when it changes.
    grpc_tls_key_file: Path | None
    # PEM file of the certificate authority that signs the callers' certificates (mutual TLS).
    grpc_tls_client_ca_file: Path | None
    # `on` or `off`: whether the server serves its contract by reflection, without authentication.
    # Unset: `on` if `GRPC_LISTEN` is a loopback address.
    grpc_reflection: bool
    # `on`, for each of them: several `server` processes listen on `GRPC_LISTEN` (SO_REUSEPORT).
    # `off`: a second server fails to bind.
    grpc_reuse_port: bool
    # JSON file with the clients: the hashes of their tokens, their limits, webhook secrets and
    # cases. For `server`, `notifier` and `scheduler`. Read again when it changes. Unset: one
    # client, `default`.
    clients_file: Path | None
    # StartDownload calls a minute of one client; a minute's worth may come at once.
    client_starts_per_minute: int
    # Running jobs of one client.
    client_jobs_at_once: int
    # Jobs of one client that were started with a later not_before_time, or that wait for the budget
    # of different cases. They do not count as jobs that run.
    client_waiting_jobs: int
    # Open WatchProgress and WaitJob calls of one client, in each server process.
    client_open_watches: int
    # Cases that one client may watch.
    client_subscriptions: int
    # Other calls of one client that are under way, in each server process. A call is under way
    # until its answer is sent.
    client_calls_at_once: int
    # RetryJob and RedeliverWebhook calls a minute of one client; a minute's worth may come at once.
    client_repeats_per_minute: int
    # Deliveries of one client's webhooks at once, over all notifiers. Others wait for their turn.
    client_webhooks_at_once: int
    # The same to one receiver. One that timed out gets one delivery at a time until it answers.
    client_webhooks_per_receiver: int

    # == Webhooks

    # Keys that sign webhooks of a single client. Every delivery carries a signature of each, for a
    # rotation. Required without `AUTOS_CLIENTS_FILE`.
    webhook_secrets: tuple[str, ...] = field(repr=False)
    # Comma-separated `host`, `host:port` or `*.domain`: no other receiver is called. A private
    # address, or `localhost` with its port, allows exactly that one. Unset: any public host.
    webhook_allowed_hosts: tuple[str, ...]
    # `events-may-be-read-on-the-way`: webhooks are also sent to `http://` receivers beyond
    # loopback, without the documents' URLs. Unset: to `https://` receivers only.
    webhook_plaintext: str | None

    # == Processes, spool and limits of work

    # Documents of one job that are downloaded at once.
    lanes_per_job: int
    # Processes of `worker`.
    worker_processes: int
    # Threads in each process of `worker`, `uploader` and `notifier`.
    worker_threads: int
    # Folder of the embedded servers, secrets and spool of `make run`.
    data_dir: Path
    # Folder of files that wait between portal and bucket; one per host, shared by its `worker` and
    # `uploader`. Unset: `spool` in `DATA_DIR`.
    spool_dir: Path
    # UUID of the spool; names its upload queue. Unset: made once and kept in `SPOOL_DIR`.
    spool_id: UUID | None
    # Bytes in the spool. A full spool pauses downloads.
    spool_max_bytes: int
    # Bytes of one document. A larger one fails with `TOO_LARGE`. S3 accepts 5 GiB in one PUT.
    document_max_bytes: int
    # Seconds for one attempt at one document.
    document_deadline_s: int
    # Seconds for a run of a job. Afterwards unfinished documents fail with `TIMEOUT`.
    job_deadline_s: int
    # Seconds: `max_age` of a StartDownload that gives none.
    listing_max_age_s: int
    # Attempts at what fails transiently.
    attempts: int
    # Attempts where a retry seldom helps, such as a 500 on a file.
    attempts_few: int
    # Milliseconds of the first pause between attempts; tripled each time, 60 s at most, +/- 20 %.
    retry_base_ms: int
    # Seconds for which a claim outlives a killed worker.
    lease_s: int
    # Milliseconds between two repairs of the leading `scheduler`.
    clock_interval_ms: int
    # Seconds: older objects that no row references are deleted. `off`: none are. See
    # [deletions](../explanation/deletions.md).
    orphan_age_s: int | None
    # Days after which events leave the log that ListEvents reads. The newest end of a job stays.
    event_retention_days: int

    # == Observability

    # host:port of the server's metrics page, without authentication. The other processes use the
    # ports after it. Beyond loopback it requires `METRICS_PLAINTEXT`. Unset: no metrics. See
    # [monitor](../howto/monitor.md).
    metrics_listen: str | None
    # Form of the log. Unset: `text` on a terminal, else `json`.
    log_format: str | None
    # URL of an OTLP/HTTP receiver of traces; requires `requirements-traces.txt`. Unset: no traces.
    otlp_endpoint: str | None
    # `on`: adds the channelz service, which shows the addresses of callers.
    is_channelz_on: bool

    @classmethod
    def from_env(cls, env: Mapping[str, str], process: str = "") -> Settings:
        """Return the settings in `env`.

        `process` is the name in the Procfile: what this process does not use is not required, and
        empty if it is not set. Without a name, everything is required.

        Raises ConfigurationError that names every missing or wrong variable at once.
        """
        read = _Reader(env, process)
        data_dir = read.given("DATA_DIR", Path, default=Path("var"))
        s3_endpoint = read.given("S3_ENDPOINT_URL", _http_url)
        listen = read.given("GRPC_LISTEN", _listen, default="127.0.0.1:50051")
        s3_credentials = read.given("S3_CREDENTIALS", _one_of("keys", "role"), default="keys")
        needed: dict[str, Any] = {"default": ""} if s3_credentials == "role" else {}
        settings: dict[str, Any] = dict(  # noqa: C408 - keywords, as the fields are named
            database_url=read.given("DATABASE_URL", _database_url),
            redis_url=read.given("REDIS_URL", _redis_url) or "",
            s3_endpoint_url=s3_endpoint,
            s3_ca_file=read.given("S3_CA_FILE", _ca_file, default=None),
            s3_credentials=s3_credentials,
            s3_access_key_id=read.given("S3_ACCESS_KEY_ID", str, **needed) or "",
            s3_secret_access_key=read.given("S3_SECRET_ACCESS_KEY", str, **needed) or "",
            s3_session_token=read.given("S3_SESSION_TOKEN", str, default=None),
            s3_sts_url=read.given("S3_STS_URL", _http_url, default=None),
            s3_bucket=read.given("S3_BUCKET", _bucket, default="autos"),
            s3_prefix=read.given("S3_PREFIX", _prefix, default=""),
            s3_region=read.given("S3_REGION", str, default="us-east-1"),
            s3_public_endpoint_url=read.given(
                "S3_PUBLIC_ENDPOINT_URL", _http_url, default=s3_endpoint
            ),
            pdpj_base_url=read.given("PDPJ_BASE_URL", _http_url, default=PORTAL_URL),
            pdpj_ca_file=read.given("PDPJ_CA_FILE", _ca_file, default=None),
            pdpj_token=read.given("PDPJ_TOKEN", _token, default=None),
            pdpj_token_url=read.given("PDPJ_TOKEN_URL", _token_url, default=None),
            pdpj_client_id=read.given("PDPJ_CLIENT_ID", _token, default=None),
            pdpj_client_secret=read.given("PDPJ_CLIENT_SECRET", _token, default=None),
            pdpj_refresh_token=read.given("PDPJ_REFRESH_TOKEN", _token, default=None),
            encryption_keys=read.given("AUTOS_ENCRYPTION_KEY", _encryption_keys, default=()),
            pdpj_max_concurrent=read.given("PDPJ_MAX_CONCURRENT", _whole(1, 1_000), default=10),
            pdpj_max_concurrent_per_court=read.given(
                "PDPJ_MAX_CONCURRENT_PER_COURT", _whole(1, 1_000), default=6
            ),
            pdpj_max_per_minute=read.given(
                "PDPJ_MAX_PER_MINUTE", _whole(1, 1_000_000), default=None
            ),
            pdpj_cases_per_day=read.given(
                "PDPJ_CASES_PER_DAY", _whole(1, MOST_CASES), default=None
            ),
            pdpj_cases_per_30_days=read.given(
                "PDPJ_CASES_PER_30_DAYS", _whole(1, MOST_CASES), default=None
            ),
            pdpj_cases_per_day_by_court=read.given(
                "PDPJ_CASES_PER_DAY_BY_COURT", _by_court(_whole(1, MOST_CASES)), default={}
            ),
            pdpj_cases_per_30_days_by_court=read.given(
                "PDPJ_CASES_PER_30_DAYS_BY_COURT", _by_court(_whole(1, MOST_CASES)), default={}
            ),
            pdpj_pause_base_ms=read.given("PDPJ_PAUSE_BASE_MS", _whole(1, 300_000), default=10_000),
            pdpj_probe_base_ms=read.given("PDPJ_PROBE_BASE_MS", _whole(1, 60_000), default=5_000),
            pdpj_probe_patience_s=read.given(
                "PDPJ_PROBE_PATIENCE_S", _whole(0, 86_400), default=120
            ),
            grpc_listen=listen,
            grpc_tls_cert_file=read.given("GRPC_TLS_CERT_FILE", Path, default=None),
            grpc_tls_key_file=read.given("GRPC_TLS_KEY_FILE", Path, default=None),
            grpc_tls_client_ca_file=read.given("GRPC_TLS_CLIENT_CA_FILE", Path, default=None),
            grpc_reflection=read.given(
                "GRPC_REFLECTION", _on_or_off, default=is_loopback(listen or "")
            ),
            grpc_reuse_port=read.given("GRPC_REUSE_PORT", _on_or_off, default=False),
            clients_file=read.given("AUTOS_CLIENTS_FILE", Path, default=None),
            client_starts_per_minute=read.given(
                "CLIENT_STARTS_PER_MINUTE", _whole(1, 1_000_000), default=6_000
            ),
            client_jobs_at_once=read.given(
                "CLIENT_JOBS_AT_ONCE", _whole(1, 1_000_000), default=1_000
            ),
            client_waiting_jobs=read.given(
                "CLIENT_WAITING_JOBS", _whole(1, 1_000_000), default=10_000
            ),
            client_open_watches=read.given(
                "CLIENT_OPEN_WATCHES", _whole(1, 1_000_000), default=1_000
            ),
            client_subscriptions=read.given(
                "CLIENT_SUBSCRIPTIONS", _whole(1, 1_000_000), default=10_000
            ),
            client_calls_at_once=read.given(
                "CLIENT_CALLS_AT_ONCE", _whole(1, 1_000_000), default=100
            ),
            client_repeats_per_minute=read.given(
                "CLIENT_REPEATS_PER_MINUTE", _whole(1, 1_000_000), default=60
            ),
            client_webhooks_at_once=read.given(
                "CLIENT_WEBHOOKS_AT_ONCE", _whole(1, 10_000), default=8
            ),
            client_webhooks_per_receiver=read.given(
                "CLIENT_WEBHOOKS_PER_RECEIVER", _whole(1, 10_000), default=4
            ),
            metrics_listen=read.given("METRICS_LISTEN", _metrics_listen, default=None),
            webhook_secrets=read.given("WEBHOOK_SECRET", _webhook_secrets, default=()),
            webhook_allowed_hosts=read.given("WEBHOOK_ALLOWED_HOSTS", _receivers, default=()),
            webhook_plaintext=read.given("WEBHOOK_PLAINTEXT", _one_of(WEBHOOK_WORD), default=None),
            lanes_per_job=read.given("LANES_PER_JOB", _whole(1, 100), default=5),
            worker_processes=read.given("WORKER_PROCESSES", _whole(1, 64), default=2),
            worker_threads=read.given("WORKER_THREADS", _whole(1, 256), default=16),
            data_dir=data_dir,
            spool_dir=read.given("SPOOL_DIR", Path, default=(data_dir or Path("var")) / "spool"),
            spool_id=read.given("SPOOL_ID", UUID, default=None),
            spool_max_bytes=read.given(
                "SPOOL_MAX_BYTES", _whole(MIB, 2**50), default=8 * 1024 * MIB
            ),
            document_max_bytes=read.given(
                "DOCUMENT_MAX_BYTES", _whole(1, MOST_IN_ONE_PUT), default=2 * 1024 * MIB
            ),
            document_deadline_s=read.given("DOCUMENT_DEADLINE_S", _whole(1, 86_400), default=300),
            job_deadline_s=read.given("JOB_DEADLINE_S", _whole(1, 2_592_000), default=86_400),
            listing_max_age_s=read.given("LISTING_MAX_AGE_S", _whole(0, 2_592_000), default=3_600),
            attempts=read.given("ATTEMPTS", _whole(1, 20), default=5),
            attempts_few=read.given("ATTEMPTS_FEW", _whole(1, 20), default=3),
            retry_base_ms=read.given("RETRY_BASE_MS", _whole(1, 60_000), default=1_000),
            lease_s=read.given("LEASE_S", _whole(3, 600), default=15),
            clock_interval_ms=read.given("CLOCK_INTERVAL_MS", _whole(50, 60_000), default=2_000),
            orphan_age_s=read.given("ORPHAN_AGE_S", _or_off(_whole(1, 31_536_000)), default=86_400),
            event_retention_days=read.given("EVENT_RETENTION_DAYS", _whole(1, 36_500), default=30),
            log_format=read.given("LOG_FORMAT", _one_of("json", "text"), default=None),
            otlp_endpoint=read.given("OTEL_EXPORTER_OTLP_ENDPOINT", _otlp_url, default=None),
            is_channelz_on=read.given("GRPC_CHANNELZ", _one_of("on", "off"), default="off") == "on",
        )
        read.check_credentials()
        read.check_words()
        read.check_webhook_secret()
        read.check_callers(listen)
        read.raise_problems()
        return cls(**settings)


class _Reader:
    """Read variables and collect the problem of each."""

    def __init__(self, env: Mapping[str, str], process: str) -> None:
        files = read_secret_files(env)
        self._env, self._process = files.env, process
        # A secret whose file has a problem counts as set: one problem is reported once.
        self._unread = set(files.problems)
        self._problems = list(files.problems.values())

    def _uses(self, name: str) -> bool:
        return not self._process or self._process in USED_BY.get(name, (self._process,))

    def given(self, name: str, parse: Callable[[str], T], **default: Any) -> Any:
        text = self._env.get(name, "").strip()
        if not text or name in self._unread:
            if "default" in default:
                return default["default"]
            if name not in self._unread and self._uses(name):
                self._problems.append(f"{name} is not set")
            return None
        try:
            return parse(text)
        except ValueError as error:
            # The value may be a secret, so the message contains only the rule.
            self._problems.append(f"{name} {error}" if error.args else f"{name} is not valid")
            return None

    def check_webhook_secret(self) -> None:
        """Require WEBHOOK_SECRET if no clients file can hold a secret for each client."""
        names = ("AUTOS_CLIENTS_FILE", "WEBHOOK_SECRET")
        if self._uses("WEBHOOK_SECRET") and not any(map(self._is_set, names)):
            self._problems.append("WEBHOOK_SECRET is not set")

    def check_credentials(self) -> None:
        """Require PDPJ_TOKEN or a complete login. Each gap is reported by itself."""
        if self._is_set("PDPJ_TOKEN_URL"):
            if self._is_set("PDPJ_TOKEN"):
                self._problems.append("PDPJ_TOKEN must not be set together with PDPJ_TOKEN_URL")
            self._need("PDPJ_CLIENT_ID", "AUTOS_ENCRYPTION_KEY", by="PDPJ_TOKEN_URL")
            if not self._is_set("PDPJ_CLIENT_SECRET") and not self._is_set("PDPJ_REFRESH_TOKEN"):
                self._problems.append(
                    "PDPJ_CLIENT_SECRET is not set, nor is PDPJ_REFRESH_TOKEN:"
                    " PDPJ_TOKEN_URL needs one of them"
                )
            return
        parts = ("PDPJ_CLIENT_ID", "PDPJ_CLIENT_SECRET", "PDPJ_REFRESH_TOKEN")
        if given := next(filter(self._is_set, parts), None):
            self._need("PDPJ_TOKEN_URL", by=given)
        elif not self._is_set("PDPJ_TOKEN") and self._uses("PDPJ_TOKEN"):
            self._problems.append(
                "PDPJ_TOKEN is not set, nor is PDPJ_TOKEN_URL with a client to log in"
            )

    def check_words(self) -> None:
        """Refuse a word that is not exact, and a connection without TLS that no word allows."""
        for name, word in IN_SO_MANY_WORDS.items():
            self.given(name, _one_of(word), default=None)
        self._problems.extend(
            problem
            for name, problem in plaintext.problems(self._env)
            if not any(each.startswith(f"{name} ") for each in self._problems)
        )

    def check_callers(self, listen: str | None) -> None:
        """Require client authentication and TLS if GRPC_LISTEN is not a loopback address."""
        if self._is_set("GRPC_TLS_CERT_FILE") or self._is_set("GRPC_TLS_CLIENT_CA_FILE"):
            self._need("GRPC_TLS_KEY_FILE", by="TLS")
        if self._is_set("GRPC_TLS_KEY_FILE") or self._is_set("GRPC_TLS_CLIENT_CA_FILE"):
            self._need("GRPC_TLS_CERT_FILE", by="TLS")
        if listen is None or is_loopback(listen) or not self._uses("GRPC_LISTEN"):
            return
        if not self._is_set("AUTOS_CLIENTS_FILE"):
            self._need_words("AUTOS_WITHOUT_CLIENTS", "AUTOS_CLIENTS_FILE")
        elif not self._is_set("GRPC_TLS_CERT_FILE"):
            self._need_words("GRPC_PLAINTEXT", "GRPC_TLS_CERT_FILE")

    def _need_words(self, name: str, better: str) -> None:
        if not self._is_set(name):
            self._problems.append(
                f"GRPC_LISTEN leads beyond loopback: set {better},"
                f" or {name}={IN_SO_MANY_WORDS[name]}"
            )

    def _need(self, *names: str, by: str) -> None:
        missing = [name for name in names if not self._is_set(name)]
        self._problems.extend(f"{name} is not set, but {by} needs it" for name in missing)

    def _is_set(self, name: str) -> bool:
        return name in self._unread or bool(self._env.get(name, "").strip())

    def raise_problems(self) -> None:
        if self._problems:
            raise ConfigurationError("; ".join(self._problems) + ".")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _by_court(parse: Callable[[str], T]) -> Callable[[str], Mapping[str, T]]:
    def parse_all(text: str) -> Mapping[str, T]:
        values: dict[str, T] = {}
        for entry in _comma_list(text):
            court, _, value = entry.partition("=")
            if not re.fullmatch(r"[1-9]\.\d\d", court, re.ASCII) or court in values:
                raise ValueError("must be COURT=NUMBER, such as 5.02=1500, once for each court")
            values[court] = parse(value)
        return values

    return parse_all


def _or_off(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    def parse_or_off(text: str) -> T | None:
        if text == "off":
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from error

    return parse_or_off


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _url(text: str, *schemes: str) -> str:
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in schemes and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"must be a URL that begins with {' or '.join(s + '://' for s in schemes)}"
        )
    return text


def _http_url(text: str) -> str:
    url = _url(text, "http", "https").rstrip("/")
    parts = urlsplit(url)
    is_bare = url.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if not parts.hostname or not is_bare or "@" in parts.netloc:
        raise ValueError("must be http(s)://host[:port] and nothing more")
    return url


def _database_url(text: str) -> str:
    if not urlsplit(_url(text, "postgresql", "postgres")).path.strip("/"):
        raise ValueError("must name a database: postgresql://user:password@host/database")
    try:
        parse_dsn(text)
    except ProgrammingError:
        # Without its cause: its text may contain a part of the password.
        raise ValueError(
            "must be a URL that PostgreSQL understands, with only its parameters after the ?"
        ) from None
    return text


def _redis_url(text: str) -> str:
    if is_sentinel_url(text):
        parse_sentinel_url(text)
        return text
    return _url(text, "redis", "rediss", "unix", *SENTINEL_SCHEMES)


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65_535:
        raise ValueError("must be host:port")
    return text


def _metrics_listen(text: str) -> str:
    # The first of several ports: each process takes its own.
    if int(_listen(text).rpartition(":")[2]) > 65_531:
        raise ValueError("must be host:port with a port up to 65531")
    return text


def _otlp_url(text: str) -> str:
    url = _url(text, "http", "https")
    parts = urlsplit(url)
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be http(s)://host[:port][/path] without user info or query")
    return url


def is_loopback(listen: str) -> bool:
    """Return whether only this machine can reach host:port. Of names, only localhost counts."""
    return is_loopback_host(listen.rpartition(":")[0])


def _on_or_off(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _comma_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _receivers(text: str) -> tuple[str, ...]:
    entries = _comma_list(text)
    for entry in entries:
        try:
            AllowRule.parse(entry)
        except ValueError as error:
            raise ValueError(f"holds {entry!r}: {error}".rstrip(".")) from error
    return entries


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text) or ".." in text:
        raise ValueError("must be 3 to 63 lower-case letters, digits, dots and hyphens")
    return text


def _prefix(text: str) -> str:
    parts = text.rstrip("/").split("/")
    is_plain = all(re.fullmatch(r"[A-Za-z0-9._-]+", part) for part in parts)
    if not is_plain or {".", ".."} & {*parts} or len(text) > 200:
        raise ValueError(
            "must be names of letters, digits, dots, hyphens and underscores with slashes between"
            " them, 200 characters at most"
        )
    return "/".join(parts) + "/"


def _token(text: str) -> str:
    # http.client refuses any other value in a header, and puts it into its error message. In a
    # form, another value would only be a copying error.
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be visible ASCII characters without spaces")
    return text


def _token_url(text: str) -> str:
    parts = urlsplit(_url(text, "http", "https"))
    is_safe = parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1", "::1"}
    is_plain = re.fullmatch(r"[!-~]+", text) and not set(text) & set("@?#")
    if not parts.hostname or not is_plain or not is_safe:
        raise ValueError(
            "must be an https:// URL without user info, query or fragment (http only on loopback)"
        )
    return text


def _ca_file(text: str) -> Path:
    try:
        ssl.create_default_context(cafile=text)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ValueError("must be a file of PEM certificates that can be read") from error
    return Path(text)


def _encryption_keys(text: str) -> tuple[str, ...]:
    keys = _comma_list(text)
    if not keys or not all(map(_is_encryption_key, keys)):
        raise ValueError("must be 32 bytes as URL-safe base64 (several: comma-separated)")
    return keys


def _is_encryption_key(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) is not None


def _webhook_secrets(text: str) -> tuple[str, ...]:
    secrets = _comma_list(text)
    if not secrets or not all(map(is_webhook_secret, secrets)):
        raise ValueError(
            "must be whsec_ and the base64 of 24 to 64 bytes (several: comma-separated)"
        )
    if not all(map(_looks_random, secrets)):
        raise ValueError("must hold random bytes: these repeat, or follow a pattern")
    return secrets


def _looks_random(text: str) -> bool:
    """Return False if the bytes are few, or follow each other in equal steps."""
    key = base64.b64decode(text.removeprefix("whsec_"))
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    return len(set(key)) >= DISTINCT_BYTES and len(steps) >= DISTINCT_BYTES


def is_webhook_secret(text: str) -> bool:
    """Whether this is `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = webhook_key(text)
    except ValueError:  # no base64, or not even ASCII
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def webhook_key(secret: str) -> bytes:
    """The key of a webhook secret. Raises ValueError."""
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
