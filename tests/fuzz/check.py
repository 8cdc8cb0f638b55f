"""What must be true of every answer, whatever was asked."""

import json
import re
import time

import httpx

from tests.fuzz.cases import Case

MAX_SECONDS = 10.0
MAX_ERROR_BYTES = 16_384
KEYS = {"message", "type", "param", "code"}
LEAKS = re.compile(
    r"Traceback|File \"|/usr/|/home/|/root/|/proc/|site-packages|\.py\b|0x[0-9a-f]{8}"
)


def check(client: httpx.Client, case: Case) -> str | None:
    """What is wrong with the answer, or None. Raises what httpx raises if there is none."""
    started_at = time.perf_counter()
    headers = {"content-type": "application/json"}
    response = client.post(case.path, content=case.body, headers=headers)
    seconds = time.perf_counter() - started_at
    if seconds > MAX_SECONDS:
        return f"took {seconds:.1f} s"
    if response.status_code == 200:
        return _wrong_answer(response)
    if response.status_code >= 500 and response.status_code != 503:
        return f"status {response.status_code}: {response.text[:200]}"
    return _wrong_error(response)


def _wrong_answer(response: httpx.Response) -> str | None:
    if response.headers["content-type"].startswith("text/event-stream"):
        return (
            f"an error in the stream: {response.text[:300]}"
            if '"error":{' in response.text
            else None
        )
    json.loads(response.text, parse_constant=_refuse)
    return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _wrong_error(response: httpx.Response) -> str | None:
    if len(response.content) > MAX_ERROR_BYTES:
        return "an error of more than 16 kB"
    body = response.json()
    if body.keys() != {"error"} or body["error"].keys() != KEYS or not body["error"]["message"]:
        return f"not the shape of an error: {response.text[:300]}"
    if leak := LEAKS.search(response.text):
        return f"an error that tells {leak[0]!r}: {response.text[:300]}"
    return None
