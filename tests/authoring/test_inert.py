"""What has no effect here can be made, told apart and read, as programs written for Temporal do."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, exceptions
from durable.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    OpenTelemetryConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from durable.service import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    RPCError,
    RPCStatusCode,
    ServiceClient,
    TLSConfig,
)


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "_default", None)
    monkeypatch.setattr(Runtime, "_prevented", False)


def runtime(metrics: Any = None) -> Runtime:
    return Runtime(telemetry=TelemetryConfig(metrics=metrics, global_tags={"env": "test"}))


def test_a_runtime_takes_all_kinds_of_telemetry() -> None:
    buffer = MetricBuffer(10)
    for metrics in (None, buffer, PrometheusConfig("0.0.0.0:9000"), OpenTelemetryConfig("http://otel", http=True)):
        runtime(metrics).metric_meter.create_counter("orders").add(1)
    assert buffer.retrieve_updates() == []
    forwarding = LogForwardingConfig(logger=logging.getLogger("x"))
    TelemetryConfig(logging=LoggingConfig(TelemetryFilter("INFO", "ERROR"), forwarding=forwarding))
    assert TelemetryFilter(core_level="INFO", other_level="ERROR").formatted().startswith("ERROR,")
    with pytest.raises(ValueError, match="1 update or more"):
        MetricBuffer(0)


@pytest.mark.usefixtures("no_default")
def test_there_is_one_default_runtime() -> None:
    assert Runtime.default() is Runtime.default()
    with pytest.raises(RuntimeError, match="set already"):
        Runtime.set_default(runtime())
    other = runtime()
    Runtime.set_default(other, error_if_already_set=False)
    assert Runtime.default() is other
    with pytest.raises(RuntimeError, match="made already"):
        Runtime.prevent_default()


@pytest.mark.usefixtures("no_default")
def test_the_default_runtime_can_be_prevented() -> None:
    Runtime.prevent_default()
    with pytest.raises(RuntimeError, match="it was prevented"):
        Runtime.default()
    Runtime.set_default(mine := runtime())
    assert Runtime.default() is mine


async def test_a_connection_takes_all_that_a_server_would_need() -> None:
    config = ConnectConfig(
        "sqlite://",
        api_key="key",
        tls=TLSConfig(domain="shop"),
        retry_config=RetryConfig(max_retries=1),
        keep_alive_config=KeepAliveConfig(interval_millis=1),
        http_connect_proxy_config=HttpConnectProxyConfig("proxy:1", ("user", "password")),
        dns_load_balancing_config=DnsLoadBalancingConfig.default,
        grpc_compression=GrpcCompression.NONE,
        payload_limits=PayloadLimitsConfig(payloads_warn_size=1),
        runtime=runtime(),
        lazy=True,
    )
    async with Client(await ServiceClient.connect(config)) as client:
        assert await client.service_client.check_health(retry=True, timeout=timedelta(seconds=20))
        assert client.identity == config.identity != ""


async def test_a_database_that_does_not_answer_is_not_healthy() -> None:
    async with await Client.connect("sqlite://") as client:
        with pytest.raises(RPCError, match="did not answer within") as caught:
            await client.service_client.check_health(timeout=timedelta(0))
        assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED
    with pytest.raises(RPCError) as caught:
        await client.service_client.check_health()
    assert caught.value.status is RPCStatusCode.UNAVAILABLE


def test_errors_that_are_never_raised_can_be_named_and_made() -> None:
    error = exceptions.NexusOperationError(
        "m", scheduled_event_id=1, endpoint="e", service="s", operation="o", operation_token="t"
    )
    assert (error.message, error.scheduled_event_id, error.operation_token) == ("m", 1, "t")
    assert exceptions.NexusOperationAlreadyStartedError("id", run_id="r").run_id == "r"
    assert issubclass(exceptions.InvalidVersioningOverrideError, exceptions.FailureError)
