"""Turn the contract's own comments into the API and error reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import descriptor_pb2 as dpb

FIELD_TYPES = {
    dpb.FieldDescriptorProto.TYPE_DOUBLE: "double",
    dpb.FieldDescriptorProto.TYPE_FLOAT: "float",
    dpb.FieldDescriptorProto.TYPE_INT64: "int64",
    dpb.FieldDescriptorProto.TYPE_UINT64: "uint64",
    dpb.FieldDescriptorProto.TYPE_INT32: "int32",
    dpb.FieldDescriptorProto.TYPE_FIXED64: "fixed64",
    dpb.FieldDescriptorProto.TYPE_FIXED32: "fixed32",
    dpb.FieldDescriptorProto.TYPE_BOOL: "bool",
    dpb.FieldDescriptorProto.TYPE_STRING: "string",
    dpb.FieldDescriptorProto.TYPE_BYTES: "bytes",
    dpb.FieldDescriptorProto.TYPE_UINT32: "uint32",
    dpb.FieldDescriptorProto.TYPE_SFIXED32: "sfixed32",
    dpb.FieldDescriptorProto.TYPE_SFIXED64: "sfixed64",
    dpb.FieldDescriptorProto.TYPE_SINT32: "sint32",
    dpb.FieldDescriptorProto.TYPE_SINT64: "sint64",
}
ROLES = {1: "viewer", 2: "operator", 3: "admin"}
ROLE_FIELD = 50100
"""Number of the `required_role` method option."""


@dataclass(frozen=True, slots=True)
class Comments:
    """The comments of one file, by their path in the descriptor."""

    by_path: dict[tuple[int, ...], str]

    def at(self, *path: int) -> str:
        """Return the comment at a path as one paragraph, or nothing."""
        return self.by_path.get(path, "")

    @classmethod
    def of(cls, file: dpb.FileDescriptorProto) -> Comments:
        """Read the leading comments of a file."""
        found = {}
        for location in file.source_code_info.location:
            if location.leading_comments.strip():
                found[tuple(location.path)] = " ".join(location.leading_comments.split())
        return cls(found)


def our_files(image: bytes) -> Iterator[tuple[dpb.FileDescriptorProto, Comments]]:
    """Yield the contract's own files in order of their names."""
    files = dpb.FileDescriptorSet.FromString(image).file
    for file in sorted(files, key=lambda f: f.name):
        if file.package.startswith("quasar."):
            yield file, Comments.of(file)


def required_role(method: dpb.MethodDescriptorProto) -> str:
    """Return the role that a method needs, read from the option's bytes so that no generated code is needed."""
    data = method.options.SerializeToString()
    index = 0
    while index < len(data):
        key, index = _varint(data, index)
        if key & 7 == 0:
            value, index = _varint(data, index)
            if key >> 3 == ROLE_FIELD:
                return ROLES.get(value, "none")
        else:
            length, index = _varint(data, index)
            index += length
    return "none"


def _varint(data: bytes, index: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[index]
        value |= (byte & 0x7F) << shift
        index, shift = index + 1, shift + 7
        if byte < 0x80:
            return value, index


def type_name(field: dpb.FieldDescriptorProto, maps: dict[str, dpb.DescriptorProto]) -> str:
    """Return a field's type as the reference shows it."""
    if field.type_name in maps:
        key, value = maps[field.type_name].field
        return f"map<{type_name(key, {})}, {type_name(value, {})}>"
    name = FIELD_TYPES.get(field.type)
    if name is None:
        full = field.type_name.lstrip(".")
        name = f"[{short(full)}](#{anchor(full)})" if full.startswith("quasar.") else full
    repeated = field.label == dpb.FieldDescriptorProto.LABEL_REPEATED
    return f"repeated {name}" if repeated else f"optional {name}" if field.proto3_optional else name


def short(full: str) -> str:
    """Drop the package of a full name."""
    return full.split(".v1.", 1)[-1]


def anchor(full: str) -> str:
    """Return the anchor of a message or enum."""
    return full.lower().replace(".", "-")


def cell(text: str) -> str:
    """Make a text safe inside a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def service_lines(file: dpb.FileDescriptorProto, comments: Comments) -> Iterator[str]:
    """Yield the sections of a file's services."""
    for s, service in enumerate(file.service):
        yield f"### {file.package}.{service.name}\n\n{comments.at(6, s)}\n"
        for m, method in enumerate(service.method):
            stream = "stream " if method.server_streaming else ""
            request, response = method.input_type.lstrip("."), method.output_type.lstrip(".")
            yield (
                f"#### {service.name}.{method.name}\n\n"
                f"`{method.name}`([{short(request)}](#{anchor(request)})) → "
                f"{stream}[{short(response)}](#{anchor(response)}) · role **{required_role(method)}**\n\n"
                f"{comments.at(6, s, 2, m)}\n"
            )


def message_lines(message: dpb.DescriptorProto, full: str, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    """Yield the section of a message and of those inside it."""
    maps = {f".{full}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    yield f'### <a id="{anchor(full)}"></a>{short(full)}\n\n{comments.at(*path)}\n'
    if message.field:
        yield "| field | type | meaning |\n|---|---|---|"
        for f, field in enumerate(message.field):
            kind = type_name(field, maps).replace("|", "\\|")
            yield f"| `{field.name}` | {kind} | {cell(comments.at(*path, 2, f))} |"
        yield ""
    for n, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from message_lines(nested, f"{full}.{nested.name}", (*path, 3, n), comments)
    for e, enum in enumerate(message.enum_type):
        yield from enum_lines(enum, f"{full}.{enum.name}", (*path, 4, e), comments)


def enum_lines(enum: dpb.EnumDescriptorProto, full: str, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    """Yield the section of an enum."""
    yield f'### <a id="{anchor(full)}"></a>{short(full)}\n\n{comments.at(*path)}\n'
    yield "| value | number | meaning |\n|---|---|---|"
    for v, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {cell(comments.at(*path, 2, v))} |"
    yield ""


def api_markdown(image: bytes) -> str:
    """Return the whole reference as Markdown."""
    files = list(our_files(image))
    lines = [
        "# API reference\n",
        "Generated from the comments of `proto/` by `make gen`; do not edit.\n",
        "## Services\n",
    ]
    for file, comments in files:
        lines += service_lines(file, comments)
    for package in sorted({file.package for file, _ in files}):
        lines.append(f"## Messages of {package}\n")
        for file, comments in files:
            if file.package != package:
                continue
            for m, message in enumerate(file.message_type):
                lines += message_lines(message, f"{package}.{message.name}", (4, m), comments)
            for e, enum in enumerate(file.enum_type):
                lines += enum_lines(enum, f"{package}.{enum.name}", (5, e), comments)
    return "\n".join(lines).rstrip() + "\n"


def errors_markdown(image: bytes) -> str:
    """Return the error reference as Markdown."""
    file, comments = next(our_files(image))
    lines = [
        "# Errors\n",
        "Generated from `proto/quasar/common/v1/errors.proto` by `make gen`; do not edit.\n",
        "A failed call carries a `google.rpc.Status` whose `ErrorInfo` has the domain `quasar` and a reason.\n",
        "| reason | meaning |\n|---|---|",
    ]
    for v, value in enumerate(file.enum_type[0].value):
        if value.number:
            lines.append(f"| `{value.name.removeprefix('ERROR_REASON_')}` | {cell(comments.at(5, 0, 2, v))} |")
    return "\n".join(lines) + "\n"
