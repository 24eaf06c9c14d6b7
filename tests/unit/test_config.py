"""Settings: what is set counts, what is wrong is named with its value and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quasar.config import DATAHUB, GATEWAY, PARTS, REGISTRY, STRATEGY, Home, Settings
from quasar.environment import BadSetting


def read(part: Any = REGISTRY, **variables: str) -> Settings:
    return Settings.read(part, variables)


def test_without_any_setting_everything_has_its_default() -> None:
    settings = read()
    assert settings.home.path == Path("~/.quasar").expanduser()
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8080, None)
    assert settings.embedded
    assert settings.system_context == settings.home.system_context
    assert (settings.log.format, settings.log.level) == ("console", "info")
    assert not settings.tls.enabled
    assert dict(settings.peers) == {
        "registry": "127.0.0.1:8080",
        "datahub": "127.0.0.1:8081",
        "strategy": "127.0.0.1:8082",
    }
    assert [part.default_port for part in PARTS] == [8080, 8081, 8082, 8000]


def test_each_part_reads_its_own_port_and_finds_its_peers_by_theirs() -> None:
    variables = {"QUASAR_DATAHUB_PORT": "9001", "QUASAR_STRATEGY_ADDRESS": "strategy.internal:443"}
    assert read(DATAHUB, **variables).port == 9001
    assert read(STRATEGY, **variables).port == 8082
    assert read(GATEWAY, **variables).peers["datahub"] == "127.0.0.1:9001"
    assert read(REGISTRY, **variables).peers["strategy"] == "strategy.internal:443"


def test_an_empty_variable_counts_as_unset() -> None:
    assert read(QUASAR_REGISTRY_PORT="", QUASAR_DATABASE_URL=" ").embedded


def test_the_home_holds_everything(tmp_path: Path) -> None:
    home = Home.read({"QUASAR_HOME": str(tmp_path)})
    assert home.database == tmp_path / "db"
    assert home.admin_token == tmp_path / "admin.token"
    assert home.service_url("datahub") == tmp_path / "datahub.url"


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:p@db/quasar\n")
    settings = read(QUASAR_DATABASE_URL_FILE=str(file))
    assert settings.database_url == "postgresql://u:p@db/quasar"
    assert not settings.embedded
    with pytest.raises(BadSetting, match="must not be set together with QUASAR_DATABASE_URL"):
        read(QUASAR_DATABASE_URL_FILE=str(file), QUASAR_DATABASE_URL="postgresql://u@db/quasar")
    with pytest.raises(BadSetting, match="must name a readable text file"):
        read(QUASAR_DATABASE_URL_FILE=str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("QUASAR_REGISTRY_PORT", "http", "must be a whole number from 1 to 65535; unset it for 8080, was 'http'"),
        ("QUASAR_REGISTRY_PORT", "0", "must be a whole number from 1 to 65535"),
        ("QUASAR_REGISTRY_PORT", "80800", "must be a whole number from 1 to 65535"),
        ("QUASAR_REGISTRY_PORT", "+-8", "must be a whole number"),
        ("QUASAR_DATAHUB_ADDRESS", "datahub", "must be host:port; unset it for 127.0.0.1:8081, was 'datahub'"),
        ("QUASAR_DATAHUB_ADDRESS", "datahub:99999", "must be host:port"),
        ("QUASAR_LOG_FORMAT", "xml", "must be one of console, json; unset it for console, was 'xml'"),
        ("QUASAR_LOG_LEVEL", "loud", "must be one of debug, info, warning, error, critical"),
        ("QUASAR_DRAIN_SECONDS", "soon", "must be a number of seconds above 0"),
        ("QUASAR_DRAIN_SECONDS", "nan", "must be a number of seconds above 0"),
        ("QUASAR_DRAIN_SECONDS", "-1", "must be a number of seconds above 0"),
        ("QUASAR_MAX_CALLS", "0", "must be a whole number from 1"),
        ("QUASAR_DATABASE_URL", "mysql://db/quasar", "must be postgresql://"),
        ("QUASAR_DATABASE_URL", "postgresql://db", "must be postgresql://"),
        ("QUASAR_TLS_CERTIFICATE", "/nowhere/cert.pem", "must name a file that exists"),
    ],
)
def test_a_bad_value_is_named_with_the_variable_and_the_remedy(variable: str, value: str, rule: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read(**{variable: value})
    assert caught.value.message.startswith(f"{variable} {rule}")
    assert [violation.field for violation in caught.value.violations] == [variable]


def test_a_password_is_not_shown_in_a_message() -> None:
    with pytest.raises(BadSetting) as caught:
        read(QUASAR_DATABASE_URL="postgres://u:hunter2@db/")
    assert "hunter2" not in caught.value.message


def test_a_certificate_and_its_key_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.touch()
    with pytest.raises(BadSetting, match="QUASAR_TLS_KEY must be set too"):
        read(QUASAR_TLS_CERTIFICATE=str(file))
    with pytest.raises(BadSetting, match="QUASAR_TLS_CERTIFICATE must be set too"):
        read(QUASAR_TLS_KEY=str(file))
    with pytest.raises(BadSetting, match="must not be set without QUASAR_TLS_CERTIFICATE"):
        read(QUASAR_TLS_CLIENT_CA=str(file))
    assert read(QUASAR_TLS_CERTIFICATE=str(file), QUASAR_TLS_KEY=str(file)).tls.enabled


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "home"
    file.touch()
    with pytest.raises(BadSetting, match="QUASAR_HOME must name a folder"):
        read(QUASAR_HOME=str(file))


def test_without_a_database_the_remedy_is_said(tmp_path: Path) -> None:
    settings = read(QUASAR_HOME=str(tmp_path))
    with pytest.raises(BadSetting, match="QUASAR_DATABASE_URL must be set, or `quasar up` must run"):
        settings.read_database_url(settings.home.service_url("registry"))
    settings.home.service_url("registry").write_text("postgresql://quasar_registry@/quasar\n")
    assert settings.read_database_url(settings.home.service_url("registry")) == "postgresql://quasar_registry@/quasar"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:p@ss@[::1/quasar", "postgresql://ann:…@[::1/quasar"),
        ("postgresql://ann:hidden@db:port/quasar", "postgresql://ann:…@db:port/quasar"),
        ("mysql://ann:q@db/quasar", "mysql://ann:…@db/quasar"),
        ("host=db user=ann password=hidden dbname=quasar", "host=db user=ann password=… dbname=quasar"),
        ("postgresql://ann:@db", "postgresql://ann:…@db"),
    ],
)
def test_an_address_that_is_none_is_shown_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read(QUASAR_DATABASE_URL=url)
    assert caught.value.message.endswith(f"was {shown!r}.")


def test_a_number_of_many_digits_is_refused_like_any_other() -> None:
    with pytest.raises(BadSetting, match="QUASAR_MAX_CALLS must be a whole number from 1"):
        read(QUASAR_MAX_CALLS="9" * 5000)
    with pytest.raises(BadSetting, match="must be host:port"):
        read(QUASAR_DATAHUB_ADDRESS="db:" + "9" * 5000)
