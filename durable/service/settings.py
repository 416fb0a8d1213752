"""How a Temporal client reaches its server: accepted so that programs port, and without effect on a database."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar


@dataclass
class TLSConfig:
    """A database's TLS is part of its URL."""

    server_root_ca_cert: bytes | None = None
    domain: str | None = None
    client_cert: bytes | None = None
    client_private_key: bytes | None = None
    verification_server_name: str | None = None


@dataclass
class RetryConfig:
    """What is sent to a database is sent again by rules of its own."""

    initial_interval_millis: int = 100
    randomization_factor: float = 0.2
    multiplier: float = 1.5
    max_interval_millis: int = 5000
    max_elapsed_time_millis: int | None = 10000
    max_retries: int = 10


@dataclass(frozen=True)
class KeepAliveConfig:
    """A database's connections are watched by rules of their own."""

    interval_millis: int = 30000
    timeout_millis: int = 15000

    default: ClassVar[KeepAliveConfig]


KeepAliveConfig.default = KeepAliveConfig()


@dataclass(frozen=True)
class HttpConnectProxyConfig:
    """No database is reached through it."""

    target_host: str
    basic_auth: tuple[str, str] | None = None


@dataclass(frozen=True)
class DnsLoadBalancingConfig:
    """A database is one."""

    resolution_interval_millis: int = 30000

    default: ClassVar[DnsLoadBalancingConfig]


DnsLoadBalancingConfig.default = DnsLoadBalancingConfig()


class GrpcCompression(ABC):
    """There is no gRPC."""

    NONE: ClassVar[GrpcCompression]
    GZIP: ClassVar[GrpcCompression]


@dataclass(frozen=True)
class _NoGrpcCompression(GrpcCompression):
    pass


@dataclass(frozen=True)
class _GzipGrpcCompression(GrpcCompression):
    pass


GrpcCompression.NONE = _NoGrpcCompression()
GrpcCompression.GZIP = _GzipGrpcCompression()


@dataclass(frozen=True)
class PayloadLimitsConfig:
    """Sizes from which on a Temporal client warns. Here a payload has one limit, `DataConverter.payload_bytes_max`."""

    payloads_warn_size: int = 512 * 1024
    memo_warn_size: int = 2 * 1024
