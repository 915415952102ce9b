"""Read everything that is visible from the outside once all faults are over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import redis
from minio import Minio

from autos.downloads.v1 import downloads_pb2 as pb
from storage.objects.object_names import MARK
from tests.chaos.callers.retrying_client import RetryingClient
from tests.chaos.chaos_environment import ChaosEnvironment
from tests.sandbox.receivers.deliveries import Delivery
from tests.sandbox.request_log import Flight, PortalRequest

READERS = 4
# The folder of the portal's answers: no document's row names them.
ANSWERS = "/listagens/"


@dataclass(frozen=True)
class Snapshot:
    """`documents`: by job, in the order of the case file. `objects`: their hashes, by key.

    `events`: the whole log, oldest first.
    """

    jobs: Mapping[str, pb.Job]
    documents: Mapping[str, list[pb.Document]]
    objects: Mapping[str, str]
    requests: list[PortalRequest]
    flights: list[Flight]
    deliveries: list[Delivery]
    events: Sequence[pb.Event] = ()
    batches: Mapping[str, pb.Batch] = field(default_factory=dict)


class Bucket:
    """Reads the bucket without the proxy and without Autos."""

    def __init__(self, environment: ChaosEnvironment) -> None:
        env = environment.servers.env
        self._name = environment.env["S3_BUCKET"]
        self._client = Minio(
            urlsplit(env["S3_ENDPOINT_URL"]).netloc,
            access_key=env["S3_ACCESS_KEY_ID"],
            secret_key=env["S3_SECRET_ACCESS_KEY"],
            secure=False,
            region=env["S3_REGION"],
        )

    def keys(self) -> set[str]:
        """Return every key in it, except the installation's mark and the portal's answers."""
        found = self._client.list_objects(self._name, recursive=True)
        keys = {str(each.object_name) for each in found}
        return {key for key in keys if not key.startswith(MARK) and ANSWERS not in key}

    def open_uploads(self) -> list[str]:
        """Return the keys of multipart uploads that were neither completed nor aborted."""
        # minio has no public call for it.
        found = self._client._list_multipart_uploads(self._name)
        return [str(upload.object_name) for upload in found.uploads]

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every object's stored bytes."""
        keys = sorted(self.keys())
        with ThreadPoolExecutor(READERS) as readers:
            return dict(zip(keys, readers.map(self._hash, keys), strict=True))

    def _hash(self, key: str) -> str:
        answer = self._client.get_object(self._name, key)
        digest = hashlib.sha256()
        try:
            for chunk in answer.stream(1024 * 1024):
                digest.update(chunk)
        finally:
            answer.close()
            answer.release_conn()
        return digest.hexdigest()


def queued(environment: ChaosEnvironment) -> dict[str, int]:
    """Return the messages left in Valkey by key: queues, their messages, unacknowledged ones."""
    found = {}
    with redis.Redis.from_url(
        environment.servers.env["REDIS_URL"], decode_responses=True
    ) as client:
        sizes = {"list": client.llen, "hash": client.hlen, "set": client.scard}
        for key in client.scan_iter("autos:*", count=1_000):
            kind = client.type(key)
            if kind in sizes:
                found[key] = sizes[kind](key)
            elif key.endswith(".XQ"):
                found[key] = client.zcard(key)
    return found


def spooled(environment: ChaosEnvironment) -> list[str]:
    """Return the files in the spools of both hosts."""
    return [str(file) for host in environment.hosts.values() for file in host.spool.glob("*.part")]


def take(environment: ChaosEnvironment, client: RetryingClient) -> Snapshot:
    """Read everything once."""
    jobs = {job.job_id: job for job in client.all_jobs()}
    for job in jobs.values():
        environment.ledger.see(job)
    return Snapshot(
        jobs=jobs,
        documents={job_id: client.documents(job_id) for job_id in jobs},
        objects=Bucket(environment).hashes(),
        requests=environment.portal.requests,
        flights=environment.portal.flights,
        deliveries=[*environment.receiver.deliveries, *environment.sluggish.deliveries],
        events=client.all_events(),
        batches={each: client.batch(each) for each in environment.ledger.batches},
    )
