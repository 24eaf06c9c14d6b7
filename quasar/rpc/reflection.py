"""Server reflection, in the version that new tools ask for (v1) and the one that old tools know (v1alpha).

The installed package has v1alpha only. Both versions have the same messages on the wire, so v1 is served by the same
code; its descriptor is made from the other's, so that reflection can describe itself.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection_pb2

_V1_FILE = "grpc/reflection/v1/reflection.proto"


def reflection_services() -> tuple[Any, Any]:
    """Return the descriptors of v1 and v1alpha."""
    older = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    return _v1().services_by_name["ServerReflection"], older


def _v1() -> Any:
    pool = descriptor_pool.Default()
    try:
        return pool.FindFileByName(_V1_FILE)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        file = text_format.Parse(
            text_format.MessageToString(file).replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto()
        )
        file.name = _V1_FILE
        return pool.AddSerializedFile(file.SerializeToString())
