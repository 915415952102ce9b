"""Services for debugging: server reflection, v1 and v1alpha, and channelz.

grpcio-reflection supports only v1alpha, cannot describe a method and has no comments. v1 has the
same messages under another name, so one servicer answers both. A method is found through its
service. The comments of the contract come from its image, since generated code leaves them out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from autos.downloads.v1 import downloads_pb2 as pb

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
METHOD = "ServerReflectionInfo"
IMAGE = Path(__file__).parents[2] / "proto" / "base.binpb"
# gRPC's own statistics of this process's connections and streams. They contain the addresses of
# callers, so the service is off unless a setting enables it.
CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name


class _CommentedFile:
    """The contract's file descriptor with its comments, which generated code leaves out."""

    def __init__(self) -> None:
        files = descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes()).file
        [image] = [file for file in files if file.name == pb.DESCRIPTOR.name]
        self._comments = image.source_code_info

    def __getattr__(self, name: str) -> Any:
        return getattr(pb.DESCRIPTOR, name)

    def CopyToProto(self, proto: descriptor_pb2.FileDescriptorProto) -> None:
        # Only the comments come from the image: its json_name would make grpcurl print jobId.
        pb.DESCRIPTOR.CopyToProto(proto)
        proto.source_code_info.CopyFrom(self._comments)


class _Pool:
    """The default descriptor pool. It also finds the file of a method, and adds the comments."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()
        self._contract = _CommentedFile()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileByName(self, name: str) -> Any:
        return self._commented(self._pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> Any:
        try:
            return self._commented(self._pool.FindFileContainingSymbol(symbol))
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return self._commented(found.file)

    def _commented(self, file: Any) -> Any:
        return self._contract if file.name == pb.DESCRIPTOR.name else file


class _Servicer(aio.ReflectionServicer):  # type: ignore[misc]
    async def answer(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        async for answer in self.ServerReflectionInfo(requests, context):
            yield answer


def _describe_v1() -> None:
    """Add the v1 service to the default pool, so that it is described like the others."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    text = text_format.MessageToString(file).replace("v1alpha", "v1")
    v1 = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(v1.SerializeToString())


def add_reflection(server: grpc.aio.Server, service_names: Iterable[str]) -> None:
    """Serve reflection of `service_names` and of the reflection services themselves."""
    _describe_v1()
    servicer = _Servicer([*service_names, *SERVICES], pool=_Pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.answer,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(service, {METHOD: handler}) for service in SERVICES
        )
    )


def add_channelz(server: grpc.aio.Server) -> str:
    """Add the service to `server`. Return its name, for reflection."""
    channelz.add_channelz_servicer(server)
    return str(CHANNELZ)
