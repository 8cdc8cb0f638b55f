"""A bucket that fills as time goes by."""

import time

import pytest

from pandagpt.api.rate import Bucket
from pandagpt.errors import RateLimited


def test_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bucket = Bucket(120)
    for _ in range(120):
        bucket.take()
    with pytest.raises(RateLimited) as caught:
        bucket.take()
    assert caught.value.retry_after_seconds == 1
    assert bucket.headers() == {
        "x-ratelimit-limit-requests": "120",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.000s",
    }
    now += 0.6
    bucket.take()
    with pytest.raises(RateLimited):
        bucket.take()
    now += 1e6
    bucket.take()
    assert bucket.headers()["x-ratelimit-remaining-requests"] == "119"


def test_it_tells_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    bucket = Bucket(1)
    bucket.take()
    with pytest.raises(RateLimited) as caught:
        bucket.take()
    assert caught.value.retry_after_seconds == 60
