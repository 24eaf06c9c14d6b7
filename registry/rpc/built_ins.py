"""The providers and brokers that come with the platform, with their manifests as they are stored."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import json_format

from quasar import logs
from quasar.convert.manifest import manifest_to_proto
from quasar.plugins.manifest import Kind, read_manifest
from registry.code.archives import SourceFile
from registry.code.built_ins import BuiltIn
from registry.code.refs import CodeKind, CodeRef

_PACKAGES: Mapping[CodeKind, str] = {CodeKind.PROVIDER: "quasar.providers", CodeKind.BROKER: "quasar.brokers"}
_log = logs.get("registry.rpc.built_ins")


def found_built_ins() -> list[BuiltIn]:
    """Return what this build has; a class whose optional library is missing is left out."""
    return [found for kind, package in _PACKAGES.items() for found in _of_package(kind, package)]


def _of_package(kind: CodeKind, package: str) -> Iterator[BuiltIn]:
    if importlib.util.find_spec(package) is None:
        return
    listed: Mapping[str, str] = importlib.import_module(package).BUILTIN
    for name, place in sorted(listed.items()):
        module_name, _, class_name = place.partition(":")
        try:
            module = importlib.import_module(module_name)
            message = manifest_to_proto(read_manifest(Kind(str(kind)), getattr(module, class_name)))
        except ImportError as error:
            _log.info("built-in code is left out", kind=str(kind), name=name, problem=str(error))
            continue
        document = json_format.MessageToDict(message, preserving_proto_field_name=True)
        path = Path(inspect.getfile(module))
        yield BuiltIn(CodeRef(kind, name), document, SourceFile(path.name, path.read_bytes()))
