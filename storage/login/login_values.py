"""The login to the portal, its tokens and its state, as values, and the encryption of tokens."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from storage.settings import Settings

# About 50 ms and 16 MiB, so that a client secret chosen by a person cannot be found by guessing.
SCRYPT_COST = 2**14
SCRYPT_BLOCK = 8


class Cipher:
    """Encrypt with the first of `keys` (AUTOS_ENCRYPTION_KEY), decrypt with any of them."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, secret: str) -> str:
        """Return the encrypted secret, for a row."""
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str) -> str | None:
        """Return the secret, None if none of the keys decrypts it."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None


def fingerprint(name: str, *secrets: str) -> str:
    """Return a value that shows whether `secrets` changed, and nothing else about them.

    `name` is the salt, so that two logins with the same secret have different fingerprints.
    """
    digest = hashlib.scrypt(
        json.dumps(secrets).encode(), salt=name.encode(), n=SCRYPT_COST, r=SCRYPT_BLOCK, p=1
    )
    return digest[:16].hex()


@dataclass(frozen=True, slots=True)
class Login:
    """The configured login: the key of its row, and the fingerprint of its credentials."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, settings: Settings) -> Login:
        """Return the login of `settings`. Takes a tenth of a second: call it once per process."""
        token, refresh = settings.pdpj_token or "", settings.pdpj_refresh_token or ""
        if settings.pdpj_token_url is None:
            name = key = f"static {settings.pdpj_base_url}"
        else:
            grant = "refresh_token" if refresh else "client_credentials"
            name = key = f"{grant} {settings.pdpj_token_url} {settings.pdpj_client_id}"
        if token or refresh:
            # A token that the operator changes gets a new row, and the former row keeps the tokens
            # that were renewed from the former one. A new client secret or encryption key needs no
            # new row.
            key = f"{name} {fingerprint(name, token, refresh)}"
        secret = settings.pdpj_client_secret or ""
        return cls(key, fingerprint(name, token, refresh, secret, *settings.encryption_keys))


@dataclass(frozen=True, slots=True)
class LoginBlock:
    """The reason why requests must wait, and its end. `client`: only its requests; None: all."""

    reason: str
    until_time: datetime
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token for the portal. Seconds from the time of reading, negative after the end."""

    access_token: str = field(repr=False)
    fresh_for_s: float
    good_for_s: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to log in, for LEASE_S seconds. `refresh_token`: the newest; None: none is kept."""

    lease: UUID
    generation: int
    refresh_token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenDecision:
    """The next action for a token.

    With `attempt`: log in. Without: take `token`, or read again, if necessary after `wait_s`
    seconds. If `attempt` has a `token` beside it, that token may be used if the login fails.
    `is_unreadable`: no key decrypts the token in the row.
    """

    token: Token | None
    attempt: Attempt | None = None
    wait_s: float = 0.0
    is_unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of a login. `refresh_token` None: the used one stays valid."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lives_s: float


@dataclass(frozen=True, slots=True)
class LoginState:
    """The state of a login: why and for how long it is blocked, and for how long it is suspect.

    `held_client`: the only client that the block stops; None: it stops all.
    """

    hold_reason: str | None = None
    held_for_s: float = 0.0
    doubted_for_s: float | None = None
    held_client: str | None = None

    def stops(self, client: str) -> bool:
        """Return whether a block stops the requests for `client`."""
        return self.held_client is None or self.held_client == client


class Evidence(Enum):
    """The result of consecutive 401s: none, or their client must stop, or all clients."""

    NONE = auto()
    OF_CLIENT = auto()
    OF_SEVERAL = auto()
