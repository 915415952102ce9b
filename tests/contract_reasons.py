"""The reasons with which a call can be refused, as the comments of the contract declare them."""

from __future__ import annotations

import re

from google.protobuf import descriptor_pb2

from autos.downloads.v1 import downloads_pb2 as pb
from server.rpc.reflection import IMAGE

SERVICE = pb.DESCRIPTOR.services_by_name["DownloadService"]
# Field numbers: FileDescriptorProto.service and ServiceDescriptorProto.method.
SERVICES, METHODS = 6, 2
# The comments' form: "- JOB_NOT_FOUND (NOT_FOUND): ...", or several reasons with one status.
REASON = re.compile(r"^ - ([A-Z_, ]+) \(([A-Z_]+)\): ", re.M)


def contract() -> descriptor_pb2.FileDescriptorProto:
    """Return the contract with its comments."""
    files = descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes()).file
    [found] = [file for file in files if file.name == pb.DESCRIPTOR.name]
    return found


def comments() -> dict[str, str]:
    """Return the comment of each method, and of the service under its own name."""
    file = contract()
    names: dict[tuple[int, ...], str] = {(SERVICES, 0): SERVICE.name}
    for i, method in enumerate(file.service[0].method):
        names[(SERVICES, 0, METHODS, i)] = method.name
    return {
        names[tuple(place.path)]: place.leading_comments
        for place in file.source_code_info.location
        if tuple(place.path) in names
    }


def statuses(comment: str) -> dict[str, str]:
    """Return the reasons in a comment, each with its status."""
    found = REASON.findall(comment)
    return {reason: status for reasons, status in found for reason in reasons.split(", ")}


# By method, and by the name of the service those of every method: the status of each reason.
DECLARED = {name: statuses(comment) for name, comment in comments().items()}
METHOD_NAMES = tuple(method.name for method in SERVICE.methods)


def reasons_of(rpc: str) -> frozenset[str]:
    """Return every reason with which this RPC can be refused."""
    return frozenset(DECLARED[SERVICE.name]) | frozenset(DECLARED[rpc])


ALL_REASONS = frozenset.union(*map(reasons_of, METHOD_NAMES))
