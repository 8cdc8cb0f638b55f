"""Requests that a careless or a hostile client might send: good ones, broken at random places.

Every case is a function of its number alone, so one that fails can be run again.
"""

import base64
import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandagpt

SAMPLES = Path(pandagpt.__file__).parent / "samples"
Json = Any


@dataclass(frozen=True, slots=True)
class Case:
    number: int
    path: str
    body: bytes


MEDIA = {
    "image_url": "red_car.png",
    "video_url": "train.mp4",
    "audio_url": "rain.wav",
    "depth_url": "boat.depth.png",
    "thermal_url": "dog.thermal.png",
    "imu_url": "bell.imu.csv",
}


def sample(kind: str) -> Json:
    return {"type": kind, kind: {"url": f"sample://{MEDIA[kind]}"}}


def user(*parts: Json) -> Json:
    return {"role": "user", "content": list(parts)}


TEXT = {"type": "text", "text": "What is this?"}
PLAIN = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
GOOD: list[tuple[str, Json]] = [
    (
        "/v1/chat/completions",
        PLAIN
        | {
            "model": "",
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "min_p": 0.1,
            "n": 2,
            "seed": 1,
            "stop": ["x", "y"],
            "logit_bias": {"5": 1.5},
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "repetition_penalty": 1.1,
            "logprobs": True,
            "top_logprobs": 2,
            "stop_token_ids": [2],
            "min_tokens": 1,
            "user": "me",
            "fusion": "sum",
        },
    ),
    ("/v1/chat/completions", PLAIN | {"stream": True, "stream_options": {"include_usage": True}}),
    (
        "/v1/chat/completions",
        PLAIN | {"messages": [user(TEXT, sample("image_url"), sample("imu_url"))]},
    ),
    (
        "/v1/chat/completions",
        PLAIN
        | {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "a",
                    "schema": {
                        "type": "object",
                        "properties": {"b": {"type": "boolean"}, "c": {"enum": [1, "d", None]}},
                        "required": ["b"],
                        "additionalProperties": False,
                    },
                },
            }
        },
    ),
    (
        "/v1/chat/completions",
        PLAIN
        | {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "f",
                        "description": "d",
                        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
                    },
                }
            ],
            "tool_choice": "required",
        },
    ),
    ("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "base64"}),
    ("/v1/embeddings", {"input": [{"content": [sample("thermal_url"), TEXT]}], "dimensions": None}),
    ("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 3, "echo": True, "logprobs": 1}),
    ("/v1/responses", {"input": "Hello", "max_output_tokens": 3, "store": False}),
    (
        "/v1/responses",
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "instructions": "Be brief.",
            "max_output_tokens": 3,
            "stream": True,
        },
    ),
    ("/tokenize", {"prompt": "Hello"}),
    ("/tokenize", {"messages": [user(TEXT)], "add_generation_prompt": True}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
]

WRONG: list[Json] = [
    *(None, True, False, 0, -1, 1, 2, 0.5, 1e308, -1e308, 10**30, 2**63, -(2**63)),
    *("", "a", "###", "</s>", "\0", "\ud800", "a" * 3000, "null", "sample://nothing", "../../x"),
    *([], {}, [[]], [{}], {"a": {}}, [None], {"": ""}, [0] * 200, {"type": "text"}),
    *("data:;base64,", "data:image/png;base64,AAAA", "file:///etc/passwd", "http://127.0.0.1/"),
]
RAW = [
    b"NaN",
    b"Infinity",
    b"-0",
    b"1e999",
    b'"\\ud800"',
    b'"\\u0000"',
    b"[" * 70,
    b"{",
    b"",
    b"'a'",
]


def case(number: int) -> Case:
    lot = random.Random(number)
    make = lot.choices((_json_case, _raw_case, _media_case), weights=(5, 1, 4))[0]
    path, body = make(lot)
    return Case(number, path, body)


# -- JSON


def _json_case(lot: random.Random) -> tuple[str, bytes]:
    path, body = copy.deepcopy(lot.choice(GOOD))
    for _ in range(lot.choice((1, 1, 1, 2, 4))):
        _mutate(body, lot)
    return path, json.dumps(body).encode("utf-8", "surrogatepass")


def _raw_case(lot: random.Random) -> tuple[str, bytes]:
    """Broken below the level of JSON's values."""
    path, body = lot.choice(GOOD)
    data = json.dumps(body).encode()
    place = lot.randrange(len(data))
    end = place + lot.choice((0, 1, 1, 5))
    return path, data[:place] + lot.choice(RAW) + data[end:]


def _places(node: Json) -> Iterator[tuple[Json, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def _mutate(body: Json, lot: random.Random) -> None:
    places = list(_places(body))
    if not places:
        return
    parent, key = lot.choice(places)
    lot.choice(_MUTATIONS)(parent, key, lot)


def _replace(parent: Json, key: Any, lot: random.Random) -> None:
    parent[key] = copy.deepcopy(lot.choice(WRONG))


def _remove(parent: Json, key: Any, _: random.Random) -> None:
    del parent[key]


def _repeat(parent: Json, key: Any, lot: random.Random) -> None:
    if isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(parent[key])] * lot.choice((1, 3, 40))
    else:
        parent[f"{key}x"] = copy.deepcopy(parent[key])


def _wrap(parent: Json, key: Any, lot: random.Random) -> None:
    for _ in range(lot.choice((1, 3, 80))):
        parent[key] = lot.choice(([parent[key]], {"a": parent[key]}))


def _swap(parent: Json, key: Any, lot: random.Random) -> None:
    other = lot.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[key], parent[other] = parent[other], parent[key]


_MUTATIONS: tuple[Callable[[Json, Any, random.Random], None], ...] = (
    *(_replace, _replace, _replace),
    *(_remove, _repeat, _wrap, _swap),
)

# -- media


def _media_case(lot: random.Random) -> tuple[str, bytes]:
    kind = lot.choice(list(MEDIA))
    # A file of another kind now and then: what it says it is counts for nothing.
    name = MEDIA[kind] if lot.random() < 0.8 else lot.choice(list(MEDIA.values()))
    data = bytearray((SAMPLES / name).read_bytes())
    for _ in range(lot.choice((1, 1, 2, 8))):
        lot.choice(_DAMAGES)(data, lot)
    url = f"data:;base64,{base64.b64encode(data).decode()}"
    part = {"type": kind, kind: {"url": url}}
    if lot.random() < 0.5:
        return "/v1/embeddings", json.dumps({"input": [{"content": [part]}]}).encode()
    return "/v1/chat/completions", json.dumps(PLAIN | {"messages": [user(TEXT, part)]}).encode()


def _flip(data: bytearray, lot: random.Random) -> None:
    for _ in range(lot.choice((1, 4, 64))):
        if data:
            data[lot.randrange(len(data))] = lot.randrange(256)


def _forge_header(data: bytearray, lot: random.Random) -> None:
    """Sizes, rates and counts stand at the front, four bytes each."""
    place = lot.randrange(min(len(data), 200) + 1)
    number = lot.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, lot.getrandbits(32)))
    data[place : place + 4] = struct.pack(lot.choice(("<I", ">I")), number)


def _cut(data: bytearray, lot: random.Random) -> None:
    del data[lot.randrange(len(data) + 1) :]


def _take_out(data: bytearray, lot: random.Random) -> None:
    place = lot.randrange(len(data) + 1)
    del data[place : place + lot.choice((1, 16, 1000))]


def _double(data: bytearray, lot: random.Random) -> None:
    place = lot.randrange(len(data) + 1)
    data[place:place] = data[place : place + lot.choice((1, 16, 1000, 20_000))]


def _insert(data: bytearray, lot: random.Random) -> None:
    place = lot.randrange(len(data) + 1)
    data[place:place] = lot.choice(
        (b"\0" * 100, b"\xff" * 100, b"ffconcat version 1.0\nfile /etc/passwd\n", b"-nan,1e999,")
    )


_DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _forge_header, _cut),
    *(_take_out, _double, _insert),
)
