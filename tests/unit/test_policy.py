"""The defaults and validators of ReadTimePolicy."""

from __future__ import annotations

import inspect

import attrs
import pytest

from caliper_readtime import (
    ConfigurationError,
    ReadTimePolicy,
)
from tests.unit.builders import Life


def test_the_policys_defaults():
    """L2: names and defaults of the policy; the back-off is 5 s doubling to 3,600 s."""
    expected = {
        "heartbeat_seconds": 10.0,
        "leeway_seconds": 5.0,
        "catch_up_seconds": 300.0,
        "max_delta_seconds": 4 * 3600.0,
        "completion_ratio": 0.95,
        "completion_dwell_seconds": None,
        "completion_words_per_minute": None,
        "completion_playback_rate": 2.0,
        "completion": "send",
        "duration_tolerance_seconds": 5.0,
        "lock_seconds": 30.0,
        "state_ttl_seconds": 30 * 86400.0,
        "partial_min_seconds": 0.0,
        "retry_backoff_seconds": 5.0,
        "max_retry_backoff_seconds": 3600.0,
        "reader_budget": "measure",
    }
    parameters = inspect.signature(ReadTimePolicy).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == expected
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert {name: getattr(ReadTimePolicy(), name) for name in expected} == expected


SECONDS = [name for name in inspect.signature(ReadTimePolicy).parameters if name.endswith("_seconds")]
ZERO_ALLOWED = {"leeway_seconds", "catch_up_seconds", "duration_tolerance_seconds", "partial_min_seconds"}


@pytest.mark.parametrize("name", SECONDS)
def test_a_policy_refuses_bad_seconds(name):
    """Validators name the field."""
    bad = [-1, float("nan"), float("inf"), "10", True, 10**400, b"1"]
    bad += [] if name in ZERO_ALLOWED else [0, 0.0004]
    bad += [] if name in ("max_delta_seconds", "completion_dwell_seconds") else [None]
    for value in bad:
        with pytest.raises(ConfigurationError, match=name):
            ReadTimePolicy(**{name: value})
    if name in ZERO_ALLOWED:
        assert getattr(ReadTimePolicy(**{name: 0}), name) == 0


@pytest.mark.parametrize("ratio", [0, -0.1, 1.001, float("nan"), True, "0.95", None])
def test_a_policy_refuses_a_bad_ratio(ratio):
    """``completion_ratio`` is above 0 and at most 1."""
    with pytest.raises(ConfigurationError, match="completion_ratio"):
        ReadTimePolicy(completion_ratio=ratio)


@pytest.mark.parametrize("name", ["completion_words_per_minute", "completion_playback_rate"])
@pytest.mark.parametrize("rate", [0, -1, 100_001, float("nan"), float("inf"), True, "2"])
def test_a_policy_refuses_a_bad_rate(name, rate):
    """S12: words a minute and playback rates are above 0 and no more than anybody can mean."""
    with pytest.raises(ConfigurationError, match=name):
        ReadTimePolicy(**{name: rate})


@pytest.mark.parametrize("completion", ["later", "", None, True, "SEND"])
def test_a_policy_refuses_an_unknown_completion(completion):
    """``completion`` is ``send`` or ``defer``."""
    with pytest.raises(ConfigurationError, match="completion"):
        ReadTimePolicy(completion=completion)


def test_a_policy_refuses_back_offs_in_the_wrong_order():
    """The longest back-off is not below the first."""
    with pytest.raises(ConfigurationError, match="max_retry_backoff_seconds"):
        ReadTimePolicy(retry_backoff_seconds=10, max_retry_backoff_seconds=9)
    with pytest.raises(TypeError):
        ReadTimePolicy(heartbeat=3)


def test_an_evolved_policy_is_what_it_says():
    """Values: attrs.evolve gives a policy that counts with the new number."""
    life = Life(attrs.evolve(ReadTimePolicy(), heartbeat_seconds=1, leeway_seconds=0))
    assert life.beat(9).accepted_ms == 1000
