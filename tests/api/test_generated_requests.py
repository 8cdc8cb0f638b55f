"""Requests made from the OpenAPI document, valid and not: the live server keeps to what it says."""

import os
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from tests.api.test_openapi import DOCUMENT

# `PANDAGPT_EXAMPLES=1000` looks further than the suite has time for.
NUM_EXAMPLES = int(os.environ.get("PANDAGPT_EXAMPLES", "10"))

load_all_checks()
HELD: list[Any] = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)
REFUSES: list[Any] = CHECKS.get_by_names(["negative_data_rejection"])
OPERATIONS = [
    result.ok()
    for result in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    if isinstance(result, Ok)
]


def bounded(body: Any) -> Any:
    """One answer of few tokens: what is asked for matters here, not how much of it."""
    if not isinstance(body, dict) or "messages" not in body:
        return body
    short = body | {"max_completion_tokens": 2}
    return short | {"n": 1} if isinstance(body.get("n"), int) and body["n"] > 1 else short


def test_every_operation_is_generated() -> None:
    assert len(OPERATIONS) == sum(len(operations) for operations in DOCUMENT["paths"].values())


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        pytest.param(operation, mode, id=f"{operation.label}, {mode.value}")
        for operation in OPERATIONS
        for mode in GenerationMode
        # Nothing can be wrong with a request that has no body.
        if mode is GenerationMode.POSITIVE or operation.body
    ],
)
def test_server_keeps_to_the_document(
    live_url: str, operation: APIOperation, mode: GenerationMode
) -> None:
    session = requests.Session()
    checks = HELD + REFUSES * (mode is GenerationMode.NEGATIVE)

    @hypothesis.settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode))
    def hold(case: Case) -> None:
        case.body = bounded(case.body)
        case.call_and_validate(base_url=live_url, session=session, checks=checks)

    with session:
        hold()
