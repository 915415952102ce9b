"""A token for the portal's client in tests of something else."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SandboxToken:
    """Returns the same token always, and ignores reports about it."""

    token: str = field(repr=False)

    def current(self, client: str = "") -> str:  # noqa: ARG002
        return self.token

    def renew(self, refused: str, process_number: str) -> str:  # noqa: ARG002
        return self.token

    def rejected(self, token: str, process_number: str, client: str = "") -> None:
        pass

    def accepted(self, token: str, at: float) -> None:
        pass
