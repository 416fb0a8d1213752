"""Profiles say what to connect to, the environment before them; a default address is the default database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from durable.envconfig import ClientConfig, ClientConfigProfile, ClientConfigTLS
from durable.service import TLSConfig

TOML = """
[profile.default]
address = "sqlite:///shop.db"
namespace = "shop"
[profile.default.grpc_meta]
Some_Header = "a"

[profile.cloud]
address = "shop.tmprl.cloud:7233"
api_key = "key"

[profile.secret]
address = "secret:1"
[profile.secret.tls]
server_name = "name"
client_cert_data = "CERT"
client_key_path = "key.pem"
"""


def load(profile: str | None = None, **environment: str) -> ClientConfigProfile:
    return ClientConfigProfile.load(profile, config_source=TOML, override_env_vars=environment)


def test_a_profile_is_read_from_toml() -> None:
    assert load() == ClientConfigProfile("sqlite:///shop.db", "shop", grpc_meta={"some-header": "a"})
    assert load("cloud") == load(TEMPORAL_PROFILE="cloud")
    assert load("cloud").to_client_connect_config() == {
        "target_host": "shop.tmprl.cloud:7233",
        "api_key": "key",
        "tls": True,
    }
    assert set(ClientConfig.load(config_source=TOML.encode()).profiles) == {"default", "cloud", "secret"}


def test_the_environment_goes_before_the_file() -> None:
    found = load(
        TEMPORAL_ADDRESS="other:1",
        TEMPORAL_NAMESPACE="",
        TEMPORAL_API_KEY="k",
        TEMPORAL_TLS="false",
        TEMPORAL_GRPC_META_SOME_HEADER="",
        TEMPORAL_GRPC_META_ANOTHER="b",
    )
    assert found == ClientConfigProfile("other:1", "shop", "k", ClientConfigTLS(disabled=True), {"another": "b"})
    assert found.to_client_connect_config()["tls"] is False
    assert load(TEMPORAL_ADDRESS="other:1", DURABLE_ADDRESS="sqlite://").address == "sqlite://"
    alone = ClientConfigProfile.load(config_source=TOML, disable_env=True, override_env_vars={"TEMPORAL_ADDRESS": "x"})
    assert alone.address == "sqlite:///shop.db"


def test_certificates_come_from_files_and_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pem").write_text("KEY")
    profile = load("secret", TEMPORAL_TLS_SERVER_CA_CERT_DATA="CA")
    assert profile.to_client_connect_config()["tls"] == TLSConfig(
        server_root_ca_cert=b"CA", domain="name", client_cert=b"CERT", client_private_key=b"KEY"
    )
    assert ClientConfigProfile.from_dict(profile.to_dict()) == profile
    assert profile.to_dict() == {
        "address": "secret:1",
        "tls": {
            "server_name": "name",
            "server_ca_cert": {"data": "CA"},
            "client_cert": {"data": "CERT"},
            "client_key": {"path": "key.pem"},
        },
    }
    whole = ClientConfig.load(config_source=TOML)
    assert ClientConfig.from_dict(whole.to_dict()) == whole


def test_a_file_is_found_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.toml").write_text(TOML)
    (tmp_path / "temporalio").mkdir()
    (tmp_path / "temporalio" / "temporal.toml").write_text('[profile.default]\naddress = "home:1"')
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    by_name = ClientConfig.load_client_connect_config("cloud", config_file=str(tmp_path / "my.toml"), disable_env=True)
    assert by_name["target_host"] == "shop.tmprl.cloud:7233"
    environment = {"TEMPORAL_CONFIG_FILE": str(tmp_path / "my.toml")}
    by_variable = ClientConfig.load_client_connect_config(override_env_vars=environment)
    assert by_variable["target_host"] == "sqlite:///shop.db"
    assert ClientConfig.load_client_connect_config(override_env_vars={}) == {"target_host": "home:1"}
    assert ClientConfig.load_client_connect_config(override_env_vars={}, disable_file=True) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profile": "none", "config_source": TOML}, "Profile 'none' not found; there are: cloud, default, secret"),
        ({"disable_file": True, "disable_env": True}, "Cannot disable both"),
        ({"config_source": "x = = 1"}, "the configuration is no TOML"),
        ({"config_source": "[profile.default]\naddress = 3"}, "address must be text, not 3"),
        ({"config_source": "[profile.a]\ncolour = 1", "config_file_strict": True}, "unknown keys: colour"),
        ({"config_source": "[profile.a.tls]\nport = 1", "config_file_strict": True}, "unknown keys: port"),
        ({"config_source": "a = 1", "config_file_strict": True}, "the file has unknown keys: a"),
        (
            {"config_source": "[profile.default.tls]\nclient_key_path = 'a'\nclient_key_data = 'b'"},
            "client_key is given by its path and by its data",
        ),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        ClientConfigProfile.load(override_env_vars={}, **options)


async def test_a_program_with_its_default_address_runs_on_the_default_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DURABLE_ADDRESS", raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))
    monkeypatch.chdir(tmp_path)
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "localhost:7233")
    async with await Client.connect(**config) as client:
        assert (await client.count_workflows()).count == 0
    assert "durable.db" in os.listdir()
