"""Secrets in rows: encrypted, or reduced to a fingerprint."""

from __future__ import annotations

import hashlib
import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

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
