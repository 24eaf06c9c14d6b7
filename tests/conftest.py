"""What every test gets: a clean environment, and a real database for those that ask for one."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("quasar.testing.database",)

# Read when gRPC is first used. Its fork handlers crash children that are started as another account (fork, then exec).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Everything that tests call is on this machine, and a proxy of the one who runs them cannot reach it.
for _name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost", "::1")))


# An example that takes long on a busy machine is no defect, and a run that fails must fail again the same way. To look
# for new examples: pytest --hypothesis-profile=explore.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of whoever runs the tests; `QUASAR_TEST_*` are for the tests themselves."""
    for name in list(os.environ):
        if name.startswith(("QUASAR_", "OTEL_")) and not name.startswith("QUASAR_TEST_"):
            monkeypatch.delenv(name)
