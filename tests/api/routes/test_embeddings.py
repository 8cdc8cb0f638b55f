"""/v1/embeddings against the golden model behind a real engine."""

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from safetensors.numpy import load_file

SAMPLES = {
    "image_url": "red_car.png",
    "video_url": "train.mp4",
    "audio_url": "frog.wav",
    "depth_url": "boat.depth.png",
    "thermal_url": "dog.thermal.png",
    "imu_url": "bell.imu.csv",
}


def part(kind: str) -> dict[str, Any]:
    return {"type": kind, kind: {"url": f"sample://{SAMPLES[kind]}"}}


def item(*kinds: str) -> dict[str, Any]:
    return {"content": [part(kind) for kind in kinds]}


def embed(live: httpx.Client, **body: Any) -> np.ndarray:
    response = live.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return np.array([entry["embedding"] for entry in data])


def test_every_modality_and_text(live: httpx.Client) -> None:
    response = live.post("/v1/embeddings", json={"input": ["a frog", *map(item, SAMPLES)]})
    body = response.json()
    rows = np.array([entry["embedding"] for entry in body["data"]])
    assert len(rows) == 7
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert len({tuple(row) for row in rows.round(4).tolist()}) == 7
    alone = live.post("/v1/embeddings", json={"input": "a frog"}).json()["usage"]["prompt_tokens"]
    assert body["usage"] == {"prompt_tokens": alone + 6, "total_tokens": alone + 6}
    assert body["object"] == "list"
    assert body["model"] == "golden-embedding"


def test_alone_is_as_beside_others(live: httpx.Client) -> None:
    (alone,) = embed(live, input=[item("image_url")])
    together = embed(live, input=["words", item("audio_url"), item("image_url"), "others"])
    np.testing.assert_allclose(together[2], alone, atol=1e-5)


def test_an_item_of_several_parts_is_the_mean_of_their_directions(live: httpx.Client) -> None:
    picture, sound, both = embed(
        live,
        input=[item("image_url"), item("audio_url"), item("image_url", "audio_url")],
    )
    np.testing.assert_allclose(both, (picture + sound) / np.linalg.norm(picture + sound), atol=1e-5)


def test_a_conversation_is_one_vector(live: httpx.Client) -> None:
    words = {"type": "text", "text": "a frog"}
    content = {"content": [part("image_url"), words]}
    message = {"role": "user", **content}
    np.testing.assert_allclose(
        embed(live, messages=[message]), embed(live, input=[content]), atol=1e-5
    )


def test_without_activation_a_sense_keeps_its_scale(live: httpx.Client, golden: Path) -> None:
    weights = load_file(golden / "imagebind_tiny.safetensors")
    scales = [1.0] + [
        float(np.exp(weights[f"modality_postprocessors.{name}.1.log_logit_scale"]))
        for name in ("thermal", "depth")
    ]
    request = {"input": [item("image_url"), item("thermal_url"), item("depth_url")]}
    unit = embed(live, **request)
    rows = embed(live, **request, use_activation=False)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(norms[:, 0], scales, rtol=1e-4)
    np.testing.assert_allclose(rows / norms, unit, atol=1e-5)


def test_base64_holds_the_same_numbers(live: httpx.Client) -> None:
    floats = embed(live, input="a frog")
    body = {"input": "a frog", "encoding_format": "base64"}
    data = live.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    packed = np.frombuffer(base64.b64decode(data), "<f4")
    np.testing.assert_allclose(packed, floats[0], atol=1e-6)


def test_a_long_text_is_refused_or_cut(live: httpx.Client) -> None:
    words = "a frog " * 500
    response = live.post("/v1/embeddings", json={"input": ["short", words]})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["param"] == "input[1]"
    response = live.post("/v1/embeddings", json={"input": words, "truncate_prompt_tokens": -1})
    assert response.status_code == 200
    endless = "a" * 10_000_000
    response = live.post("/v1/embeddings", json={"input": endless, "truncate_prompt_tokens": -1})
    assert response.status_code == 200


BROKEN = {"content": [{"type": "image_url", "image_url": "data:;base64,AAAA"}]}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": ""}, "invalid_value", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": ["a", ""]}, "invalid_value", "input"),
        ({"input": [1, 2]}, "invalid_value", "input"),
        ({"input": [[1, 2]]}, "invalid_value", "input"),
        ({"input": 5}, "invalid_value", "input"),
        ({"input": ["a"] * 257}, "invalid_value", "input"),
        ({"input": [{}]}, "missing_required_parameter", "input[0].content"),
        ({"input": [BROKEN]}, "invalid_media", "input[0].content[0].image_url"),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, None, "messages"),
        ({"input": "a", "dimensions": 5}, "invalid_value", "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "invalid_value", "encoding_format"),
        ({"input": "a", "truncate_prompt_tokens": 4}, None, "truncate_prompt_tokens"),
        ({"input": [item(*["video_url"] * 32)]}, "invalid_value", "input"),
    ],
)
def test_what_is_refused(
    live: httpx.Client, body: dict[str, Any], code: str | None, param: str
) -> None:
    response = live.post("/v1/embeddings", json=body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["param"] == param
    assert error["code"] == (code or "invalid_value")


def test_models(live: httpx.Client) -> None:
    cards = live.get("/v1/models").json()["data"]
    assert [card["id"] for card in cards] == ["golden", "golden-base", "golden-embedding"]
    assert live.get("/v1/models/golden-embedding").json() == cards[2]
    (row,) = embed(live, input="a", model="golden")
    assert len(row) == cards[2]["dimensions"]
    assert live.post("/v1/embeddings", json={"input": "a", "model": "x"}).status_code == 404
    chat = {"model": "golden-embedding", "messages": [{"role": "user", "content": "a"}]}
    response = live.post("/v1/chat/completions", json=chat)
    assert response.status_code == 404
    assert "/v1/embeddings" in response.json()["error"]["message"]


async def test_the_sdk(live_url: str) -> None:
    """Its own default is base64."""
    async with openai.AsyncOpenAI(base_url=f"{live_url}/v1", api_key="none") as client:
        answer = await client.embeddings.create(model="golden-embedding", input=["a", "b"])
    assert len(answer.data) == 2
    assert abs(np.linalg.norm(answer.data[0].embedding) - 1) < 1e-5
