"""The address of the bucket, with the keys that sign requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import IamAwsProvider, Provider
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from storage.errors import ServiceUnavailable
from storage.settings import Settings

LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """The address of the bucket. `public_url` is the endpoint in presigned URLs."""

    endpoint_url: str
    public_url: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    bucket: str
    region: str
    # The prefix of every key that is made, empty or with a slash at its end.
    prefix: str = ""
    # The certificate authorities that may sign the endpoint's certificate; None: those of urllib3.
    ca_file: Path | None = None
    # The keys, if they change by themselves: those of a role. None: the two above.
    keys: Provider | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> ObjectStore:
        """Return the store that the settings name."""
        return cls(
            endpoint_url=settings.s3_endpoint_url,
            public_url=settings.s3_public_endpoint_url,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=settings.s3_secret_access_key,
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            ca_file=settings.s3_ca_file,
            keys=RoleKeys(settings.s3_sts_url) if settings.s3_credentials == "role" else None,
            session_token=settings.s3_session_token,
        )

    @property
    def tls(self) -> dict[str, Any]:
        """Return the options of urllib3's pools for certificates."""
        return {"ca_certs": str(self.ca_file)} if self.ca_file else {}

    def credentials(self) -> Credentials:
        """Return the keys that sign a request now. Raises ServiceUnavailable if a role has none."""
        if self.keys is not None:
            return self.keys.retrieve()
        return Credentials(self.access_key_id, self.secret_access_key, self.session_token)

    def client(self, url: str, http: urllib3.PoolManager | None = None) -> Minio:
        """Return a client of this store under `url`."""
        parts = urlsplit(url)
        return Minio(
            endpoint=parts.netloc,
            credentials=_Keys(self.credentials),
            secure=parts.scheme == "https",
            region=self.region,  # without it every bucket costs a look-up
            http_client=http,
        )


class _Keys(Provider):
    """The keys of an ObjectStore, in the form that minio takes."""

    def __init__(self, retrieve: Callable[[], Credentials]) -> None:
        self._retrieve = retrieve

    def retrieve(self) -> Credentials:
        """Return the keys that sign a request now."""
        return self._retrieve()


class RoleKeys(Provider):
    """Keys that are fetched again shortly before they expire.

    The AWS_... variables name the role: AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, or
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI. Without them the machine is requested.
    `sts_url`: the endpoint that exchanges the token of a web identity; None: AWS's.
    """

    def __init__(self, sts_url: str | None) -> None:
        pools = PoolManager(timeout=Timeout(total=LIMIT_S), retries=Retry(1, redirect=0))
        self._provider = IamAwsProvider(custom_endpoint=sts_url, http_client=pools)

    def retrieve(self) -> Credentials:
        """Return the keys. Raises ServiceUnavailable if the role has none now."""
        try:
            return self._provider.retrieve()
        except (ValueError, KeyError, OSError, HTTPError) as error:
            # Without the text: it may contain the answer, and with it a key.
            raise ServiceUnavailable(
                "S3", code="NO_KEYS_OF_ROLE", answer=type(error).__name__
            ) from error
