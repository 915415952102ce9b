"""`autos health`: one check by the standard service grpc.health.v1.Health, for probes."""

from __future__ import annotations

import sys
from argparse import Namespace

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from autos._client.connection import Connection
from autos.cli.exits import Exit
from autos.cli.output import write_json, write_line
from autos.cli.wording import shown

CHECK = "/grpc.health.v1.Health/Check"
# HealthCheckResponse.ServingStatus.
STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def health(connection: Connection, options: Namespace) -> Exit:
    """Print the status of `options.service`, without a retry. Return OK if it is SERVING."""
    try:
        status = check(connection, options.service, timeout_s=options.timeout)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            write_line(f"autos: there is no health of {shown(options.service, 100)}.", sys.stderr)
            return Exit.NOT_FOUND
        text = f"autos: {connection.address} does not answer: {error.details()}"
        write_line(shown(text, 500), sys.stderr)
        return Exit.UNAVAILABLE
    if options.json:
        write_json({"service": options.service, "status": status})
    else:
        write_line(status)
    return Exit.OK if status == "SERVING" else Exit.UNAVAILABLE


def check(connection: Connection, service: str, *, timeout_s: float) -> str:
    """Return the status of `service`; an empty name means the server. Raises grpc.RpcError.

    The two wrappers have the wire form of HealthCheckRequest and HealthCheckResponse, so the client
    needs no package of its own for them.
    """
    with connection.channel() as channel:
        method = channel.unary_unary(
            CHECK,
            request_serializer=StringValue.SerializeToString,
            response_deserializer=Int32Value.FromString,
        )
        number = method(StringValue(value=service), timeout=timeout_s).value
    return STATUSES[number] if 0 <= number < len(STATUSES) else STATUSES[0]
