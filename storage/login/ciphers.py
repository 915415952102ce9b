"""Secrets that rows keep: encrypted, or only told apart."""

from __future__ import annotations

import hashlib
import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

# About 50 ms and 16 MiB: a client secret that people chose must not be found by guessing.
SCRYPT_COST = 2**14
SCRYPT_BLOCK = 8


class Cipher:
    """Encrypts with the first of `keys` (AUTOS_ENCRYPTION_KEY), decrypts with any of them."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, secret: str) -> str:
        """What may stand in a row."""
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str) -> str | None:
        """The secret; None if none of the keys fits."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None


def fingerprint(name: str, *secrets: str) -> str:
    """Tells whether `secrets` are the same as before, and nothing else about them.

    `name` is the salt, so that two logins with one secret do not look alike.
    """
    digest = hashlib.scrypt(
        json.dumps(secrets).encode(), salt=name.encode(), n=SCRYPT_COST, r=SCRYPT_BLOCK, p=1
    )
    return digest[:16].hex()
