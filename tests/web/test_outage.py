"""An open page while the network and the services under it go and come back."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest

from tests.web.conftest import Page

pytestmark = pytest.mark.xdist_group("web")


@pytest.mark.timeout(700)
async def test_an_open_page_outlives_a_cut_network_and_a_restart_without_a_hole(page: Page) -> None:
    found = await page.drive("cut.mjs", patience_s=600)
    assert "reconnecting" in found["cut"]["said"]
    assert "does not answer" in found["cut"]["said"]
    assert found["cut"]["last"] not in ("", "–")
    assert found["cut"]["drawn"] > 0
    assert "reconnecting" in found["restart"]["said"]
    assert found["restart"]["drawn"] > 0
    shown, reloaded = ({row[0]: row[1:] for row in found[name]} for name in ("shown", "reloaded"))
    times = sorted(dt.datetime.fromisoformat(time) for time in shown)
    assert {after - before for before, after in pairwise(times)} == {dt.timedelta(minutes=1)}
    # The newest one still forms.
    closed = sorted(shown.keys() & reloaded.keys())[-31:-1]
    assert len(closed) == 30
    assert closed[-1] >= found["atBreak"]
    assert {time: shown[time] for time in closed} == {time: reloaded[time] for time in closed}
