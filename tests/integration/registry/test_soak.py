"""A hundred clients at once that read and write everything, for a while; afterwards what must always be true is true.

`QUASAR_SOAK_S=60` makes it a minute instead of five seconds; `make bench ONLY=registry` always takes the minute.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import pytest

from tests.integration.registry.crowd import broken, crowded
from tests.integration.registry.stage import Stage

DURATION_S: Final = float(os.environ.get("QUASAR_SOAK_S", "5"))


@pytest.mark.timeout(DURATION_S * 2 + 300)
async def test_a_hundred_clients_for_a_while_leave_the_invariants_true(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    load = await crowded(stage, DURATION_S)
    record_property("answers", dict(load.answers.most_common()))
    assert load.strange == []
    assert await broken(stage) == {}
    assert await stage.database.fetchval("select count(*) from registry.asset_mapping") > 0
    for method in ("UploadCode", "CreateMapping", "SetIndexMembers", "CreateSubscription", "UpdateAsset", "ListAssets"):
        assert load.answers[method] > 0, load.answers
