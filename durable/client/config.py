"""What a client is made from, as dicts that can be changed and handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Required, TypedDict

from durable.client.interceptor import Interceptor
from durable.client.plugins import Plugin
from durable.common import HeaderCodecBehavior, QueryRejectCondition
from durable.converter import DataConverter
from durable.runtime import Runtime
from durable.service import (
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    ServiceClient,
    TLSConfig,
)


class ClientConfig(TypedDict):
    """What `Client.config` gives, and `Client` takes."""

    service_client: ServiceClient
    namespace: str
    data_converter: DataConverter
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    default_workflow_query_reject_condition: QueryRejectCondition | None
    header_codec_behavior: HeaderCodecBehavior
    identity: str | None
    failure_exception_types: Sequence[type[BaseException]]


class ClientConnectConfig(TypedDict, total=False):
    """What `Client.connect` takes."""

    target_host: Required[str]
    namespace: str
    api_key: str | None
    data_converter: DataConverter
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    default_workflow_query_reject_condition: QueryRejectCondition | None
    tls: bool | TLSConfig | None
    retry_config: RetryConfig | None
    keep_alive_config: KeepAliveConfig | None
    connect_timeout: timedelta | None
    rpc_metadata: Mapping[str, str | bytes]
    identity: str | None
    lazy: bool
    runtime: Runtime | None
    http_connect_proxy_config: HttpConnectProxyConfig | None
    dns_load_balancing_config: DnsLoadBalancingConfig | None
    grpc_compression: GrpcCompression
    payload_limits: PayloadLimitsConfig
    header_codec_behavior: HeaderCodecBehavior
    failure_exception_types: Sequence[type[BaseException]]
