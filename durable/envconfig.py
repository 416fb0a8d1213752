"""What to connect to, from TOML profiles and the environment: the names of Temporal's `temporalio.envconfig`.

A profile is a table ``[profile.NAME]`` with ``address``, ``namespace``, ``api_key``, ``tls`` and ``grpc_meta``. Each of
them may be given by the environment (``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE`` …), which goes before the file.
``DURABLE_ADDRESS`` goes before ``TEMPORAL_ADDRESS``.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias, TypedDict, cast

from durable.service import TLSConfig

DataSource: TypeAlias = Path | str | bytes
"""A file by its path; or text, or bytes, themselves."""

_PROFILE_KEYS = {"address", "namespace", "api_key", "tls", "codec", "grpc_meta"}
_SOURCES = {"server_root_ca_cert": "server_ca_cert", "client_cert": "client_cert", "client_private_key": "client_key"}
"""Each certificate by its field, and by its name in files and in the environment."""
_TLS_KEYS = {"disabled", "server_name", "disable_host_verification"} | {
    f"{name}_{form}" for name in _SOURCES.values() for form in ("path", "data")
}


class ClientConfigTLSDict(TypedDict, total=False):
    """`ClientConfigTLS` as a dict; each certificate is ``{"path": …}`` or ``{"data": …}``."""

    disabled: bool | None
    server_name: str
    server_ca_cert: Mapping[str, str]
    client_cert: Mapping[str, str]
    client_key: Mapping[str, str]


class ClientConfigProfileDict(TypedDict, total=False):
    """`ClientConfigProfile` as a dict."""

    address: str
    namespace: str
    api_key: str
    tls: ClientConfigTLSDict
    grpc_meta: Mapping[str, str]


class ClientConnectConfig(TypedDict, total=False):
    """What a profile has to say to `Client.connect`: ``await Client.connect(**config)``."""

    target_host: str
    namespace: str
    api_key: str
    tls: bool | TLSConfig
    rpc_metadata: Mapping[str, str]


@dataclass(frozen=True)
class ClientConfigTLS:
    """A profile's TLS. A database has no use for it: its TLS is part of its URL."""

    disabled: bool | None = None
    server_name: str | None = None
    server_root_ca_cert: DataSource | None = None
    client_cert: DataSource | None = None
    client_private_key: DataSource | None = None

    def to_dict(self) -> ClientConfigTLSDict:
        """What is set, as `from_dict` takes it."""
        found: dict[str, Any] = {"disabled": self.disabled, "server_name": self.server_name}
        for name, key in _SOURCES.items():
            source = getattr(self, name)
            if isinstance(source, Path):
                found[key] = {"path": str(source)}
            elif source is not None:
                found[key] = {"data": _text(source)}
        return cast("ClientConfigTLSDict", {key: value for key, value in found.items() if value is not None})

    def to_connect_tls_config(self) -> bool | TLSConfig:
        """What `Client.connect` takes: False when disabled. Files are read: OSError."""
        if self.disabled:
            return False
        return TLSConfig(
            domain=self.server_name,
            server_root_ca_cert=_bytes(self.server_root_ca_cert),
            client_cert=_bytes(self.client_cert),
            client_private_key=_bytes(self.client_private_key),
        )

    @classmethod
    def from_dict(cls, d: ClientConfigTLSDict | None) -> Self | None:
        """From `to_dict`; None from None or an empty dict. RuntimeError for a certificate with both path and data."""
        if not d:
            return None
        given = cast("dict[str, Mapping[str, str]]", d)
        return cls(
            disabled=d.get("disabled"),
            server_name=d.get("server_name"),
            **{name: _source(key, **given.get(key, {})) for name, key in _SOURCES.items()},
        )


@dataclass(frozen=True)
class ClientConfigProfile:
    """One profile: what is None is not said."""

    address: str | None = None
    namespace: str | None = None
    api_key: str | None = None
    tls: ClientConfigTLS | None = None
    grpc_meta: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def from_dict(cls, d: ClientConfigProfileDict) -> Self:
        """From `to_dict`."""
        return cls(
            address=d.get("address"),
            namespace=d.get("namespace"),
            api_key=d.get("api_key"),
            tls=ClientConfigTLS.from_dict(d.get("tls")),
            grpc_meta=d.get("grpc_meta") or {},
        )

    def to_dict(self) -> ClientConfigProfileDict:
        """What is set, as `from_dict` takes it."""
        found = {
            "address": self.address,
            "namespace": self.namespace,
            "api_key": self.api_key,
            "tls": None if self.tls is None else self.tls.to_dict(),
            "grpc_meta": self.grpc_meta or None,
        }
        return cast("ClientConfigProfileDict", {key: value for key, value in found.items() if value is not None})

    def to_client_connect_config(self) -> ClientConnectConfig:
        """What is set, as `Client.connect` takes it. An API key without TLS means TLS, as in Temporal."""
        tls: bool | TLSConfig | None = self.tls.to_connect_tls_config() if self.tls is not None else None
        if tls is None and self.api_key is not None:
            tls = True
        found = {
            "target_host": self.address,
            "namespace": self.namespace,
            "api_key": self.api_key,
            "tls": tls,
            "rpc_metadata": self.grpc_meta or None,
        }
        return cast("ClientConnectConfig", {key: value for key, value in found.items() if value is not None})

    @staticmethod
    def load(
        profile: str | None = None,
        *,
        config_source: DataSource | None = None,
        disable_file: bool = False,
        disable_env: bool = False,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConfigProfile:
        """The profile of this name, with what the environment says instead.

        ``profile`` None is the environment's ``TEMPORAL_PROFILE``, else ``default``, which may be missing; one that is
        named must be there (RuntimeError), unless ``disable_file``. ``config_source`` is the file, or its text; None
        is ``TEMPORAL_CONFIG_FILE``, else ``temporalio/temporal.toml`` where the user's configuration is.
        ``override_env_vars`` is taken instead of the process's environment. ``config_file_strict``: RuntimeError for
        keys that mean nothing; also for what is no TOML.
        """
        if disable_file and disable_env and config_source is None:
            raise RuntimeError("Cannot disable both file and environment loading")
        environment: Mapping[str, str] = {}
        if not disable_env:
            environment = os.environ if override_env_vars is None else override_env_vars
        named = profile or environment.get("TEMPORAL_PROFILE")
        found = ClientConfigProfile()
        if config_source is not None or not disable_file:
            profiles = _profiles(config_source, config_file_strict, environment)
            if named is not None and named not in profiles:
                raise RuntimeError(f"Profile {named!r} not found; there are: {', '.join(sorted(profiles)) or 'none'}")
            found = profiles.get(named or "default", found)
        return _overridden(found, environment)


@dataclass
class ClientConfig:
    """All profiles of a file, by name."""

    profiles: Mapping[str, ClientConfigProfile]

    def to_dict(self) -> Mapping[str, ClientConfigProfileDict]:
        """As `from_dict` takes it."""
        return {name: profile.to_dict() for name, profile in self.profiles.items()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Mapping[str, Any]]) -> Self:
        """From `to_dict`."""
        return cls(
            {name: ClientConfigProfile.from_dict(cast("ClientConfigProfileDict", each)) for name, each in d.items()}
        )

    @staticmethod
    def load(
        *,
        config_source: DataSource | None = None,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConfig:
        """The profiles as the file has them: see `ClientConfigProfile.load`."""
        environment = os.environ if override_env_vars is None else override_env_vars
        return ClientConfig(_profiles(config_source, config_file_strict, environment))

    @staticmethod
    def load_client_connect_config(
        profile: str | None = None,
        *,
        config_file: str | None = None,
        disable_file: bool = False,
        disable_env: bool = False,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConnectConfig:
        """What a profile has to say to `Client.connect`: see `ClientConfigProfile.load`. ``config_file`` is a path."""
        return ClientConfigProfile.load(
            profile,
            config_source=Path(config_file) if config_file and not disable_file else None,
            disable_file=disable_file,
            disable_env=disable_env,
            config_file_strict=config_file_strict,
            override_env_vars=override_env_vars,
        ).to_client_connect_config()


def _profiles(
    source: DataSource | None, strict: bool, environment: Mapping[str, str]
) -> dict[str, ClientConfigProfile]:
    if source is None:
        source = Path(environment.get("TEMPORAL_CONFIG_FILE") or _default_file())
    if isinstance(source, Path) and not source.exists():
        return {}
    try:
        tables = tomllib.loads(_text(source.read_bytes() if isinstance(source, Path) else source))
    except tomllib.TOMLDecodeError as error:
        raise RuntimeError(f"the configuration is no TOML: {error}") from error
    if strict:
        _check(tables, {"profile"}, "the file")
    return {name: _profile(name, table, strict) for name, table in tables.get("profile", {}).items()}


def _profile(name: str, table: dict[str, Any], strict: bool) -> ClientConfigProfile:
    tls: dict[str, Any] = table.get("tls", {})
    if strict:
        _check(table, _PROFILE_KEYS, f"profile {name!r}")
        _check(tls, _TLS_KEYS, f"the tls of profile {name!r}")
    for key in ("address", "namespace", "api_key"):
        if not isinstance(table.get(key, ""), str):
            raise RuntimeError(f"profile {name!r}: {key} must be text, not {table[key]!r}")
    return ClientConfigProfile(
        address=table.get("address"),
        namespace=table.get("namespace"),
        api_key=table.get("api_key"),
        tls=_tls(tls) if tls else None,
        grpc_meta={_header(key): value for key, value in table.get("grpc_meta", {}).items()},
    )


def _tls(table: Mapping[str, Any]) -> ClientConfigTLS:
    return ClientConfigTLS(
        disabled=table.get("disabled"),
        server_name=table.get("server_name"),
        **{
            name: _source(key, path=table.get(f"{key}_path"), data=table.get(f"{key}_data"))
            for name, key in _SOURCES.items()
        },
    )


def _overridden(profile: ClientConfigProfile, environment: Mapping[str, str]) -> ClientConfigProfile:
    """With what the environment says; an empty variable says nothing, an empty header removes it."""
    said = {key.lower(): value for key, value in environment.items() if value}
    prefix = "temporal_tls_"
    tls: dict[str, Any] = {key.removeprefix(prefix): value for key, value in said.items() if key.startswith(prefix)}
    if said.get("temporal_tls", "").lower() in ("true", "1", "false", "0"):
        tls["disabled"] = said["temporal_tls"].lower() in ("false", "0")
    prefix = "TEMPORAL_GRPC_META_"
    headers = {_header(key.removeprefix(prefix)): value for key, value in environment.items() if key.startswith(prefix)}
    return ClientConfigProfile(
        address=said.get("durable_address") or said.get("temporal_address") or profile.address,
        namespace=said.get("temporal_namespace") or profile.namespace,
        api_key=said.get("temporal_api_key") or profile.api_key,
        tls=_joined(profile.tls, _tls(tls)) if tls else profile.tls,
        grpc_meta={key: value for key, value in {**profile.grpc_meta, **headers}.items() if value},
    )


def _joined(below: ClientConfigTLS | None, above: ClientConfigTLS) -> ClientConfigTLS:
    said = {key: value for key, value in vars(above).items() if value is not None}
    return ClientConfigTLS(**{**(vars(below) if below is not None else {}), **said})


def _check(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise RuntimeError(f"{where} has unknown keys: {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _source(key: str, path: str | None = None, data: str | None = None) -> DataSource | None:
    if path is not None and data is not None:
        raise RuntimeError(f"{key} is given by its path and by its data: give one of them")
    return Path(path) if path is not None else data.encode() if data is not None else None


def _header(key: str) -> str:
    return key.lower().replace("_", "-")


def _text(source: str | bytes) -> str:
    return source.decode() if isinstance(source, bytes) else source


def _bytes(source: DataSource | None) -> bytes | None:
    match source:
        case Path():
            return source.read_bytes()
        case str():
            return source.encode()
        case _:
            return source


def _default_file() -> Path:
    """Where Temporal's tools keep it."""
    if sys.platform == "win32":
        home = Path(os.environ.get("APPDATA") or Path.home())
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support"
    else:
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "temporalio" / "temporal.toml"
