"""The digests that an answer states of its own body: RFC 9530, RFC 3230, RFC 1864. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping

_FIELDS = ("Content-Digest", "Repr-Digest", "Digest")
_ALGORITHMS = {
    **{"md5": "md5", "sha": "sha1", "sha-256": "sha256"},
    **{"sha-384": "sha384", "sha-512": "sha512"},
}


class StatedDigests:
    """Compare a body with the digests in its headers. A digest that cannot be read is ignored."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._stated = [*_stated(headers)]
        self._hashes = {name: _new(name) for name, _ in self._stated}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        for each in self._hashes.values():
            each.update(chunk)

    def agree(self) -> bool:
        """Return whether the body has every digest that the headers state."""
        return all(self._hashes[name].digest() == digest for name, digest in self._stated)


def _stated(headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    members = [f"md5={member}" for member in headers.get("Content-MD5", "").split(",")]
    for field in _FIELDS:
        members += headers.get(field, "").split(",")
    for member in members:
        algorithm, _, text = member.strip().partition("=")
        name = _ALGORITHMS.get(algorithm.lower())
        digest = _decoded(text.partition(";")[0].strip(' :"'))
        # That of no bytes was made before the body was there. An empty file is refused anyway.
        if name and len(digest) == _new(name).digest_size and digest != _new(name).digest():
            yield name, digest


def _new(name: str) -> hashlib._Hash:
    # Some installations refuse old algorithms where they protect something.
    return hashlib.new(name, usedforsecurity=False)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
