"""What a plug-in says of its connections, in its manifest or beside it."""

from __future__ import annotations

import pytest

from quasar.convert.manifest import described
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.plugin.v1 import plugin_pb2


@pytest.mark.parametrize(
    ("inside", "beside", "holds"),
    [
        pytest.param((0, 0), (0, 0), (0, 0), id="any number of symbols on one connection"),
        pytest.param((2, 3), (0, 0), (2, 3), id="in the manifest"),
        pytest.param((0, 0), (2, 3), (2, 3), id="beside it, as programs in other languages say it"),
        pytest.param((9, 1), (2, 3), (2, 3), id="both"),
        pytest.param((0, 0), (-2, -3), (0, 0), id="no number of symbols"),
    ],
)
def test_the_limits_of_live_connections_count_wherever_they_stand(
    inside: tuple[int, int], beside: tuple[int, int], holds: tuple[int, int]
) -> None:
    manifest = code_pb2.Manifest(name="tides", kind=values_pb2.CODE_KIND_PROVIDER)
    manifest.symbols_per_connection, manifest.max_live_streams = inside
    answer = plugin_pb2.DescribeResponse(manifest=manifest)
    answer.symbols_per_connection, answer.max_live_streams = beside
    found = described(answer)
    assert (found.name, found.symbols_per_connection, found.max_live_streams) == ("tides", *holds)
