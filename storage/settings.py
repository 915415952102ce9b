"""The settings: one frozen object, read from the environment at the entry points only."""
# ruff: noqa: RUF009 - `setting` returns a field, no default

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from storage.environment import setting_values as values
from storage.environment.setting_reader import (
    REQUIRED,
    SettingReader,
    is_loopback,
    setting,
    variable,
)
from storage.environment.setting_values import parse_webhook_secrets, whole
from storage.webhook_policy import AllowRule

WEBHOOK_WORD = "events-may-be-read-on-the-way"
PORTAL_URL = "https://portaldeservicos.pdpj.jus.br"
MIB = 1024 * 1024
MILLION = 1_000_000
# The largest object that S3 accepts in one PUT.
MOST_IN_ONE_PUT = 5 * 1024 * MIB


def _receivers(text: str) -> tuple[str, ...]:
    entries = values.comma_list(text)
    for entry in entries:
        try:
            AllowRule.parse(entry)
        except ValueError as error:
            raise ValueError(f"holds {entry!r}: {error}".rstrip(".")) from error
    return entries


def _needed_without_role(given: Mapping[str, Any]) -> Any:
    return "" if given["s3_credentials"] == "role" else REQUIRED


@dataclass(frozen=True)
class Settings:
    """All settings. Names carry the units; docs/reference/settings.md has the comments."""

    # == PostgreSQL, Valkey and the object store

    # URL of PostgreSQL 15 or newer. Its own `connect_timeout`, `options` and `keepalives` are used
    # as they are.
    # A pooler may stand before PostgreSQL: [use a pooler](../howto/deploy/use-a-pooler.md).
    database_url: str = setting(values.database_url, is_secret=True)
    # Valkey, or Redis 6.2 or newer: Dramatiq's queues, hints and notifications. Use a database of
    # its own. By TCP, TLS, a Unix socket or Sentinels: see [servers](servers.md#valkey-or-redis).
    redis_url: str = setting(values.redis_url, is_secret=True)
    # Endpoint of the object store's S3 API.
    s3_endpoint_url: str = setting(values.http_url)
    # PEM file of the certificate authorities that may sign the endpoint's certificate. Unset: those
    # that browsers trust.
    s3_ca_file: Path | None = setting(values.ca_file, None)
    # `role`: the keys of a role, which the AWS_... variables of the platform name, or else the
    # machine: see [servers](servers.md#s3). `keys`: those of the next three settings.
    s3_credentials: str = setting(values.one_of("keys", "role"), "keys")
    # Access key of the object store. Required unless `S3_CREDENTIALS=role`.
    s3_access_key_id: str = setting(str, default_of=_needed_without_role, is_secret=True)
    # Secret key of the object store. Required unless `S3_CREDENTIALS=role`.
    s3_secret_access_key: str = setting(str, default_of=_needed_without_role, is_secret=True)
    # Session token of temporary keys.
    s3_session_token: str | None = setting(str, None, is_secret=True)
    # Endpoint that exchanges the token of a web identity for keys. Unset: the one of AWS.
    s3_sts_url: str | None = setting(values.http_url, None)
    # Bucket. `release` makes it if it is missing and marks it as this installation's.
    s3_bucket: str = setting(values.bucket, "autos")
    # Prefix of every key, such as `team/autos`. Several installations share a bucket if their
    # prefixes differ. Documents that are stored already keep their keys.
    s3_prefix: str = setting(values.prefix, "")
    # Region in every signature.
    s3_region: str = setting(str, "us-east-1")
    # Endpoint in presigned URLs. Unset: `S3_ENDPOINT_URL`.
    s3_public_endpoint_url: str = setting(values.http_url, default_of=itemgetter("s3_endpoint_url"))

    # == The portal

    # Scheme and host of the portal.
    pdpj_base_url: str = setting(values.http_url, PORTAL_URL)
    # PEM file of the certificate authorities that may sign the certificates of the portal and its
    # login. Unset: those that browsers trust.
    pdpj_ca_file: Path | None = setting(values.ca_file, None)
    # Bearer token for the portal, used as it is. Required unless `PDPJ_TOKEN_URL` is set.
    pdpj_token: str | None = setting(values.token, None, is_secret=True)
    # Token endpoint (OpenID Connect) for a login instead of `PDPJ_TOKEN`: see
    # [log in to the portal](../howto/log-in-to-portal.md).
    pdpj_token_url: str | None = setting(values.token_url, None)
    # Client of the login.
    pdpj_client_id: str | None = setting(values.token, None)
    # Secret of the login's client (grant `client_credentials`).
    pdpj_client_secret: str | None = setting(values.token, None, is_secret=True)
    # Refresh token of the login (grant `refresh_token`). The newest one is kept in the database.
    pdpj_refresh_token: str | None = setting(values.token, None, is_secret=True)
    # Keys that encrypt the portal's tokens in the database. The first one encrypts, all of them
    # decrypt. Required with `PDPJ_TOKEN_URL`.
    encryption_keys: tuple[str, ...] = setting(
        values.encryption_keys, (), variable="AUTOS_ENCRYPTION_KEY", is_secret=True
    )
    # Requests at the portal at once, over all jobs, processes and hosts.
    pdpj_max_concurrent: int = setting(whole(1, 1_000), 10)
    # Requests at one court (J.TR of the case number) at once.
    pdpj_max_concurrent_per_court: int = setting(whole(1, 1_000), 6)
    # Requests per minute, evenly spaced. Unset: no rate.
    pdpj_max_per_minute: int | None = setting(whole(1, MILLION), None)
    # Different cases that may be listed at the portal within 24 h. A case that is listed again
    # within that time counts once. Jobs beyond it wait. Unset: no limit. Give every server and
    # worker the same four budgets: see [tune the portal's limits](../howto/tune-portal-limits.md).
    pdpj_cases_per_day: int | None = setting(whole(1, MILLION), None)
    # The same within 30 days.
    pdpj_cases_per_30_days: int | None = setting(whole(1, MILLION), None)
    # The same within 24 h, of single courts (J.TR of the case number), such as `5.12=100`.
    # Comma-separated.
    pdpj_cases_per_day_by_court: Mapping[str, int] = setting(values.by_court(whole(1, MILLION)), {})
    # The same within 30 days, such as `5.02=1500,5.15=1500`.
    pdpj_cases_per_30_days_by_court: Mapping[str, int] = setting(
        values.by_court(whole(1, MILLION)), {}
    )
    # Milliseconds of the first pause after a 429 without Retry-After; doubled each time, 5 min at
    # most.
    pdpj_pause_base_ms: int = setting(whole(1, 300_000), 10_000)
    # Milliseconds until the first probe of an unavailable court; doubled each time, 60 s at most.
    pdpj_probe_base_ms: int = setting(whole(1, 60_000), 5_000)
    # Seconds after which a probe requests the listing instead of a file.
    pdpj_probe_patience_s: int = setting(whole(0, 86_400), 120)

    # == The gRPC server and its clients

    # host:port of the gRPC server. Beyond loopback it requires clients and TLS: see
    # [authenticate clients](../howto/authenticate-clients.md).
    grpc_listen: str = setting(values.listen_address, "127.0.0.1:50051")
    # Certificate chain of the server, PEM. Read again when it changes. Unset: no TLS.
    grpc_tls_cert_file: Path | None = setting(Path, None)
    # Private key of the server, PEM, without password. Read again when it changes.
    grpc_tls_key_file: Path | None = setting(Path, None)
    # PEM file of the certificate authority that signs the callers' certificates (mutual TLS).
    grpc_tls_client_ca_file: Path | None = setting(Path, None)
    # `on` or `off`: whether the server serves its contract by reflection, without authentication.
    # Unset: `on` if `GRPC_LISTEN` is a loopback address.
    grpc_reflection: bool = setting(
        values.on_or_off, default_of=lambda given: is_loopback(given["grpc_listen"] or "")
    )
    # `on`, for each of them: several `server` processes listen on `GRPC_LISTEN` (SO_REUSEPORT).
    # `off`: a second server fails to bind.
    grpc_reuse_port: bool = setting(values.on_or_off, False)
    # JSON file with the clients: the hashes of their tokens, their limits, webhook secrets and
    # cases. For `server`, `notifier` and `scheduler`. Read again when it changes. Unset: one
    # client, `default`.
    clients_file: Path | None = setting(Path, None, variable="AUTOS_CLIENTS_FILE")
    # StartDownload calls a minute of one client; a minute's worth may come at once.
    client_starts_per_minute: int = setting(whole(1, MILLION), 6_000)
    # Running jobs of one client.
    client_jobs_at_once: int = setting(whole(1, MILLION), 1_000)
    # Jobs of one client that were started with a later not_before_time, or that wait for the budget
    # of different cases. They do not count as jobs that run.
    client_waiting_jobs: int = setting(whole(1, MILLION), 10_000)
    # Open WatchProgress and WaitJob calls of one client, in each server process.
    client_open_watches: int = setting(whole(1, MILLION), 1_000)
    # Cases that one client may watch.
    client_subscriptions: int = setting(whole(1, MILLION), 10_000)
    # Other calls of one client that are under way, in each server process. A call is under way
    # until its answer is sent.
    client_calls_at_once: int = setting(whole(1, MILLION), 100)
    # RetryJob and RedeliverWebhook calls a minute of one client; a minute's worth may come at once.
    client_repeats_per_minute: int = setting(whole(1, MILLION), 60)
    # Deliveries of one client's webhooks at once, over all notifiers. Others wait for their turn.
    client_webhooks_at_once: int = setting(whole(1, 10_000), 8)
    # The same to one receiver. One that timed out gets one delivery at a time until it answers.
    client_webhooks_per_receiver: int = setting(whole(1, 10_000), 4)

    # == Webhooks

    # Keys that sign webhooks of a single client. Every delivery carries a signature of each, for a
    # rotation. Required without `AUTOS_CLIENTS_FILE`.
    webhook_secrets: tuple[str, ...] = setting(
        parse_webhook_secrets, (), variable="WEBHOOK_SECRET", is_secret=True
    )
    # Comma-separated `host`, `host:port` or `*.domain`: no other receiver is called. A private
    # address, or `localhost` with its port, allows exactly that one. Unset: any public host.
    webhook_allowed_hosts: tuple[str, ...] = setting(_receivers, ())
    # `events-may-be-read-on-the-way`: webhooks are also sent to `http://` receivers beyond
    # loopback, without the documents' URLs. Unset: to `https://` receivers only.
    webhook_plaintext: str | None = setting(values.one_of(WEBHOOK_WORD), None)

    # == Processes, spool and limits of work

    # Documents of one job that are downloaded at once.
    lanes_per_job: int = setting(whole(1, 100), 5)
    # Processes of `worker`.
    worker_processes: int = setting(whole(1, 64), 2)
    # Threads in each process of `worker`, `uploader` and `notifier`.
    worker_threads: int = setting(whole(1, 256), 16)
    # Folder of the embedded servers, secrets and spool of `make run`.
    data_dir: Path = setting(Path, Path("var"))
    # Folder of files that wait between portal and bucket; one per host, shared by its `worker` and
    # `uploader`. Unset: `spool` in `DATA_DIR`.
    spool_dir: Path = setting(Path, default_of=lambda given: given["data_dir"] / "spool")
    # UUID of the spool; names its upload queue. Unset: made once and kept in `SPOOL_DIR`.
    spool_id: UUID | None = setting(UUID, None)
    # Bytes in the spool. A full spool pauses downloads.
    spool_max_bytes: int = setting(whole(MIB, 2**50), 8 * 1024 * MIB)
    # Bytes of one document. A larger one fails with `TOO_LARGE`. S3 accepts 5 GiB in one PUT.
    document_max_bytes: int = setting(whole(1, MOST_IN_ONE_PUT), 2 * 1024 * MIB)
    # Seconds for one attempt at one document.
    document_deadline_s: int = setting(whole(1, 86_400), 300)
    # Seconds for a run of a job. Afterwards unfinished documents fail with `TIMEOUT`.
    job_deadline_s: int = setting(whole(1, 2_592_000), 86_400)
    # Seconds: `max_age` of a StartDownload that gives none.
    listing_max_age_s: int = setting(whole(0, 2_592_000), 3_600)
    # Attempts at what fails transiently.
    attempts: int = setting(whole(1, 20), 5)
    # Attempts where a retry seldom helps, such as a 500 on a file.
    attempts_few: int = setting(whole(1, 20), 3)
    # Milliseconds of the first pause between attempts; tripled each time, 60 s at most, +/- 20 %.
    retry_base_ms: int = setting(whole(1, 60_000), 1_000)
    # Seconds for which a claim outlives a killed worker.
    lease_s: int = setting(whole(3, 600), 15)
    # Milliseconds between two repairs of the leading `scheduler`.
    clock_interval_ms: int = setting(whole(50, 60_000), 2_000)
    # Seconds: older objects that no row references are deleted. `off`: none are. See
    # [deletions](../explanation/deletions.md).
    orphan_age_s: int | None = setting(values.or_off(whole(1, 31_536_000)), 86_400)
    # Days after which events leave the log that ListEvents reads. The newest end of a job stays.
    event_retention_days: int = setting(whole(1, 36_500), 30)

    # == Observability

    # host:port of the server's metrics page, without authentication. The other processes use the
    # ports after it. Beyond loopback it requires `METRICS_PLAINTEXT`. Unset: no metrics. See
    # [monitor](../howto/monitor.md).
    metrics_listen: str | None = setting(values.metrics_address, None)
    # Form of the log. Unset: `text` on a terminal, else `json`.
    log_format: str | None = setting(values.one_of("json", "text"), None)
    # URL of an OTLP/HTTP receiver of traces; requires `requirements-traces.txt`. Unset: no traces.
    otlp_endpoint: str | None = setting(
        values.otlp_url, None, variable="OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    # `on`: adds the channelz service, which shows the addresses of callers.
    is_channelz_on: bool = setting(values.on_or_off, False, variable="GRPC_CHANNELZ")

    @classmethod
    def from_env(cls, env: Mapping[str, str], process: str = "") -> Settings:
        """Return the settings in `env`.

        `process` is the name in the Procfile: what this process does not use is not required, and
        empty if it is not set. Without a name, everything is required.

        Raises ConfigurationError that names every missing or wrong variable at once.
        """
        reader = SettingReader(env, SECRETS, process)
        read: dict[str, Any] = {}
        for each in fields(cls):
            read[each.name] = reader.read(each, read)
        reader.raise_problems(read["grpc_listen"])
        return cls(**read)


# Every variable that holds a secret. URLs may contain a password.
SECRETS = tuple(variable(each) for each in fields(Settings) if not each.repr)
