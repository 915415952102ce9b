"""The contract as data: its files, and the comment of each element."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2

from dev.embedded.sandbox import ROOT

IMAGE = ROOT / "proto" / "base.binpb"
# Field numbers in descriptor.proto: of a file's messages, enums and services; of their parts.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, VALUES, METHODS = 2, 2, 2
# "- JOB_NOT_FOUND (NOT_FOUND): ...", or several reasons with one status.
_REASONS = re.compile(r"^- ([A-Z_, ]+) \(([A-Z_]+)\): ", re.MULTILINE)


@dataclass(frozen=True)
class ContractFile:
    """A file of the contract and its comments, by the path of the element in the descriptor."""

    descriptor: descriptor_pb2.FileDescriptorProto
    comments: dict[tuple[int, ...], str]

    def comment(self, *path: int) -> str:
        """Return the comment of an element, "" without one."""
        return self.comments.get(path, "")


def contract_files() -> list[ContractFile]:
    """Return the files of the package `autos` in the order of the image."""
    image = descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes())
    return [
        ContractFile(file, {tuple(p.path): _text(p) for p in file.source_code_info.location})
        for file in image.file
        if file.package.startswith("autos.")
    ]


def _text(location: Any) -> str:
    lines = location.leading_comments.splitlines()
    return "\n".join(line.removeprefix(" ").rstrip() for line in lines).strip()


def refusals() -> Iterator[tuple[str, str, str]]:
    """Yield (method, reason, status) of each reason in a method's comment.

    The method of the reasons that every method has is "".
    """
    for file in contract_files():
        for i, service in enumerate(file.descriptor.service):
            named = [("", file.comment(SERVICES, i))]
            for k, method in enumerate(service.method):
                named.append((method.name, file.comment(SERVICES, i, METHODS, k)))
            for name, comment in named:
                for reasons, status in _REASONS.findall(comment):
                    for reason in reasons.split(", "):
                        yield name, reason, status


def constants(enum: str) -> list[tuple[str, str]]:
    """Return (string, comment) of each constant of a reason enum, without UNSPECIFIED."""
    for file in contract_files():
        for i, found in enumerate(file.descriptor.enum_type):
            if found.name == enum:
                [unspecified, *names] = [value.name for value in found.value]
                prefix = unspecified.removesuffix("UNSPECIFIED")
                return [
                    (name.removeprefix(prefix), cell(file.comment(ENUMS, i, VALUES, k)))
                    for k, name in enumerate(names, start=1)
                ]
    raise LookupError(f"the contract has no enum {enum}")


def cell(text: str) -> str:
    """Return a comment as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
