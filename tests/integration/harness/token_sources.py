"""Make token sources as the processes do, on a sandbox login and the test's database."""

from __future__ import annotations

from typing import Any

from actors.login.login_breaker import LoginBreaker
from actors.login.portal_login import LoginClient
from actors.login.token_source import RefreshedToken, StaticToken
from actors.portal.portal_client import Portal
from actors.portal.portal_session import TokenSource
from actors.resilience.exchange_deadline import Watchdog
from storage.login.login_values import Cipher, Login
from storage.postgres.database import Database, Row
from storage.settings import Settings
from tests.integration.harness.factories import execute
from tests.sandbox.keycloak.login import CLIENT_ID, CLIENT_SECRET, SandboxLogin

WATCHDOG = Watchdog()
KEY = "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS0wMTIzNDU2Nzg="
OTHER_KEY = "b3RoZXItZW5jcnlwdGlvbi1rZXktMDEyMzQ1Njc4OTA="


def settings(**values: str) -> Settings:
    """Return the settings of a process, with `values` for the portal's login."""
    return Settings.from_env(
        {
            "DATABASE_URL": "postgresql:///any",
            "REDIS_URL": "rediss://any",
            "S3_ENDPOINT_URL": "https://any",
            "S3_ACCESS_KEY_ID": "any",
            "S3_SECRET_ACCESS_KEY": "any",
            "WEBHOOK_SECRET": f"whsec_{KEY[:40]}",
            **values,
        }
    )


def login_settings(login: SandboxLogin, **values: str) -> Settings:
    """Return client_credentials settings, changed by `values`; an empty value is not set."""
    return settings(
        **{
            "PDPJ_TOKEN_URL": login.url,
            "PDPJ_CLIENT_ID": CLIENT_ID,
            "PDPJ_CLIENT_SECRET": CLIENT_SECRET,
            "AUTOS_ENCRYPTION_KEY": KEY,
            **values,
        }
    )


def refreshed(database: Database, known: Settings, **values: Any) -> RefreshedToken:
    """Return one process's token source; its login interval is short unless `values` change it."""
    client = LoginClient(
        token_url=known.pdpj_token_url or "",
        client_id=known.pdpj_client_id or "",
        client_secret=known.pdpj_client_secret,
        watchdog=WATCHDOG,
        **values.pop("client", {}),
    )
    return RefreshedToken(
        database=database,
        login=Login.of(known),
        cipher=Cipher(known.encryption_keys),
        client=client,
        refresh_token=known.pdpj_refresh_token,
        **{"interval_s": 0.0, **values},
    )


def static(database: Database, token: str) -> StaticToken:
    """Return the token source of a process that has PDPJ_TOKEN."""
    return StaticToken(token, LoginBreaker(database, Login.of(settings(PDPJ_TOKEN=token))))


def portal_with(url: str, tokens: TokenSource) -> Portal:
    """Return the client of the portal at `url`."""
    return Portal(base_url=url, tokens=tokens, watchdog=WATCHDOG, document_max_bytes=10**9)


def rows(database: Database) -> list[Row]:
    """Return all rows of logins."""
    with database.transaction() as transaction:
        return transaction.all("SELECT * FROM logins ORDER BY login_key")


def pass_time(database: Database, seconds: float) -> None:
    """Move every timestamp of the logins `seconds` into the past."""
    names = (
        "access_refresh_time access_expires_time lease_until next_login_time refused_until"
        " doubt_time"
    )
    moves = ", ".join(f"{n} = {n} - %(s)s * interval '1 second'" for n in names.split())
    execute(database, f"UPDATE logins SET {moves}", s=seconds)
