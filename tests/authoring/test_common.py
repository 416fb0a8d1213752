"""Policies say what they mean, and refuse what means nothing."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest

from durable.common import (
    MetricMeter,
    Priority,
    RawValue,
    RetryPolicy,
    WorkerDeploymentVersion,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.history import values
from durable.history.values import Payload


def test_a_retry_policy_is_carried_by_the_history_unchanged() -> None:
    policy = RetryPolicy(
        initial_interval=timedelta(milliseconds=1.5),
        backoff_coefficient=3,
        maximum_interval=timedelta(seconds=9),
        maximum_attempts=4,
        non_retryable_error_types=["ValueError"],
    )
    assert RetryPolicy.from_history(policy.to_history()) == policy
    assert policy.to_history().initial_interval_us == 1500
    assert RetryPolicy.from_history(RetryPolicy().to_history()) == RetryPolicy()


def test_the_default_policy_is_the_histories_default() -> None:
    assert RetryPolicy().to_history() == values.RetryPolicy()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"initial_interval": timedelta(seconds=-1)}, "Initial interval cannot be negative"),
        ({"backoff_coefficient": 0.9}, "Backoff coefficient cannot be less than 1"),
        ({"backoff_coefficient": float("nan")}, "Backoff coefficient cannot be less than 1"),
        ({"maximum_interval": timedelta(seconds=-1)}, "Maximum interval cannot be negative"),
        ({"maximum_interval": timedelta(milliseconds=1)}, "cannot be less than initial interval"),
        ({"maximum_attempts": -1}, "Maximum attempts cannot be negative"),
    ],
)
def test_a_senseless_retry_policy_is_refused_when_it_is_used(wrong: dict[str, Any], said: str) -> None:
    policy = RetryPolicy(**wrong)
    with pytest.raises(ValueError, match=said):
        policy.to_history()


def test_a_policy_of_one_attempt_is_never_refused() -> None:
    RetryPolicy(maximum_attempts=1, backoff_coefficient=0).to_history()


def test_the_id_policies_have_temporals_values() -> None:
    assert {p.name: p.value for p in WorkflowIDReusePolicy} == {
        "ALLOW_DUPLICATE": 1,
        "ALLOW_DUPLICATE_FAILED_ONLY": 2,
        "REJECT_DUPLICATE": 3,
        "TERMINATE_IF_RUNNING": 4,
    }
    assert [p.value for p in WorkflowIDConflictPolicy] == [0, 1, 2, 3]


def test_a_raw_value_can_be_pickled_and_copied() -> None:
    raw = RawValue(Payload(metadata={"encoding": b"x"}, data=b"\xff"))
    assert pickle.loads(pickle.dumps(raw)) == raw
    assert copy.deepcopy(raw) == raw


@pytest.mark.parametrize(("key", "error"), [("1", TypeError), (True, TypeError), (1.5, TypeError), (0, ValueError)])
def test_a_priority_key_is_a_positive_integer(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="priority_key must be"):
        Priority(priority_key=key)
    assert Priority.default == Priority()


def test_a_deployment_version_is_written_as_name_and_build() -> None:
    version = WorkerDeploymentVersion("shop", "build.7")
    assert version.to_canonical_string() == "shop.build.7"
    assert WorkerDeploymentVersion.from_canonical_string("shop.build.7") == version
    with pytest.raises(ValueError, match="write <deployment_name>"):
        WorkerDeploymentVersion.from_canonical_string("shop")


def test_a_meter_that_measures_nothing_refuses_what_a_real_one_would() -> None:
    meter = MetricMeter.noop.with_additional_attributes({"shop": "Bern"})
    orders = meter.create_counter("orders", "All orders", "1")
    assert (orders.name, orders.description, orders.unit) == ("orders", "All orders", "1")
    orders.with_additional_attributes({"first": True}).add(1, {"kind": "gift"})
    meter.create_histogram_timedelta("wait").record(timedelta(seconds=1))
    with pytest.raises(ValueError, match="orders"):
        orders.add(-1)
    with pytest.raises(ValueError, match="wait"):
        meter.create_histogram_timedelta("wait").record(timedelta(seconds=-1))
    wrong: Any = {"kind": ["gift"]}
    with pytest.raises(TypeError, match="Invalid value type for key 'kind'"):
        orders.add(1, wrong)
