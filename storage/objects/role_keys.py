"""The keys of a role: of a web identity (Kubernetes), of a container, or of the machine."""

from __future__ import annotations

from minio.credentials.credentials import Credentials
from minio.credentials.providers import IamAwsProvider, Provider
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from storage.errors import ServiceUnavailable

LIMIT_S = 5.0


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
