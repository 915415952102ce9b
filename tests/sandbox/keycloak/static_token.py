"""A token for the portal's client where the token is not what a test is about."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SandboxToken:
    """Always the same token; what becomes of it is nobody's concern."""

    token: str = field(repr=False)

    def current(self) -> str:
        return self.token

    def renew(self, refused: str, process_number: str) -> str:  # noqa: ARG002
        return self.token

    def rejected(self, token: str, process_number: str) -> None:
        pass

    def accepted(self, token: str, at: float) -> None:
        pass
