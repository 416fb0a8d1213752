"""Connections, and the errors that go over them: the names of Temporal's `temporalio.service`."""

import logging
from typing import TypeVar

from durable.service.connection import (
    CloudService,
    ConnectConfig,
    HealthService,
    OperatorService,
    ServiceClient,
    TestService,
    WorkflowService,
)
from durable.service.errors import RPCError, RPCStatusCode
from durable.service.settings import (
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    TLSConfig,
)

__all__ = [
    "LOG_PROTOS",
    "CloudService",
    "ConnectConfig",
    "DnsLoadBalancingConfig",
    "GrpcCompression",
    "HealthService",
    "HttpConnectProxyConfig",
    "KeepAliveConfig",
    "OperatorService",
    "PayloadLimitsConfig",
    "RPCError",
    "RPCStatusCode",
    "RetryConfig",
    "ServiceClient",
    "ServiceRequest",
    "ServiceResponse",
    "TLSConfig",
    "TestService",
    "WorkflowService",
    "logger",
]

ServiceRequest = TypeVar("ServiceRequest")
"""What is sent to a server; there is none here."""
ServiceResponse = TypeVar("ServiceResponse")
"""What a server answers; there is none here."""

LOG_PROTOS = False
"""Without effect: no messages are exchanged."""

logger = logging.getLogger("durable.client")
"""What connections and clients have to say."""
