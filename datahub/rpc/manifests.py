"""Manifests as the registry stores them: the JSON form of the contract's message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from quasar.convert.manifest import manifest_from_proto
from quasar.plugins.manifest import Manifest
from quasar_proto.common.v1 import code_pb2


def manifest_of(document: Mapping[str, Any]) -> Manifest:
    """Return a stored manifest; fields of a later build are left out."""
    return manifest_from_proto(json_format.ParseDict(dict(document), code_pb2.Manifest(), ignore_unknown_fields=True))
