"""docs/reference/api.md: methods, messages and enums of the contract with their comments."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from dev.reference.contract import (
    ENUMS,
    FIELDS,
    MESSAGES,
    METHODS,
    SERVICES,
    VALUES,
    ContractFile,
    cell,
    contract_files,
)

HEAD = """\
# API

The contract is [downloads.proto](../../proto/autos/downloads/v1/downloads.proto). Its comments are promises. How to
call it: [grpcurl](../howto/call-grpcurl.md), [Python](../howto/call-python.md),
[other languages](../howto/generate-clients.md). Refusals: [errors](errors.md).
"""


def page() -> str:
    """Return the page, without the note that it is generated."""
    return "\n".join([HEAD, *(line for file in contract_files() for line in _file(file))])


def _file(file: ContractFile) -> Iterator[str]:
    for i, service in enumerate(file.descriptor.service):
        yield f"## Service {file.descriptor.package}.{service.name}\n"
        yield _paragraphs(file.comment(SERVICES, i)) + "\n"
        for k, method in enumerate(service.method):
            stream = "stream " if method.server_streaming else ""
            yield f"### {method.name}\n"
            yield _paragraphs(file.comment(SERVICES, i, METHODS, k)) + "\n"
            yield f"{_link(method.input_type)} → {stream}{_link(method.output_type)}\n"
    yield f"## Messages of {file.descriptor.package}\n"
    for i, message in enumerate(file.descriptor.message_type):
        yield from _message(file, i, message)
    yield f"## Enums of {file.descriptor.package}\n"
    for i, enum in enumerate(file.descriptor.enum_type):
        yield f"### {enum.name}\n"
        yield _paragraphs(file.comment(ENUMS, i)) + "\n"
        yield "| number | value | meaning |\n|---:|---|---|"
        for k, value in enumerate(enum.value):
            comment = cell(file.comment(ENUMS, i, VALUES, k))
            yield f"| {value.number} | `{value.name}` | {comment} |"
        yield ""


def _message(file: ContractFile, i: int, message: DescriptorProto) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield _paragraphs(file.comment(MESSAGES, i)) + "\n"
    if not message.field:
        yield "No fields.\n"
        return
    yield "| number | field | type | meaning |\n|---:|---|---|---|"
    for k, field in enumerate(message.field):
        comment = cell(file.comment(MESSAGES, i, FIELDS, k))
        yield f"| {field.number} | `{field.name}` | {_type(message, field)} | {comment} |"
    yield ""


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    entry = _entry(message, field)
    if entry is not None:
        key, value = (_type(entry, each) for each in entry.field)
        return f"map<{key}, {value}>"
    name = _link(field.type_name) if field.type_name else _scalar(field.type)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name} (oneof `{message.oneof_decl[field.oneof_index].name}`)"
    return name


def _entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    """Return the message that protoc made for the entries of a map; None for any other field."""
    short = field.type_name.rpartition(".")[2]
    made = (each for each in message.nested_type if each.options.map_entry and each.name == short)
    return next(made, None)


def _scalar(number: int) -> str:
    name = FieldDescriptorProto.Type.Name(number)  # type: ignore[arg-type]
    return name.removeprefix("TYPE_").lower()


def _link(type_name: str) -> str:
    short = type_name.rpartition(".")[2]
    return f"[{short}](#{short.lower()})" if type_name.startswith(".autos.") else f"`{short}`"


def _paragraphs(comment: str) -> str:
    """Return a comment as Markdown: empty lines before and after each of its lists."""
    lines: list[str] = []
    is_list = False
    for line in comment.splitlines():
        begins, goes_on = line.startswith("- "), is_list and line.startswith("  ")
        if lines and lines[-1] and is_list != (begins or goes_on):
            lines.append("")
        is_list = begins or goes_on
        lines.append(line)
    return "\n".join(lines)
