"""A plain LLaMA folder over HTTP: transformers' text, and media refused before anything runs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from transformers import LlamaForCausalLM

from pandagpt.api.serving import ServedModel
from pandagpt.cli.loading import load_serving
from pandagpt.model.chat_template import ChatTemplate
from pandagpt.model.json_tokenizer import JsonTokenizer
from pandagpt.model.prompt import Turn
from pandagpt.settings import Settings
from tests.api.conftest import serving
from tests.plain_llama import TEMPLATE, greedy_tokens, write_folder

MESSAGES = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain") / "toy-llama"


@pytest.fixture(scope="module")
def oracle(folder: Path, golden: Path) -> LlamaForCausalLM:
    return write_folder(folder, golden / "none", "byte_level", TEMPLATE)


@pytest.fixture(scope="module")
def http(folder: Path, oracle: LlamaForCausalLM) -> Iterator[httpx.Client]:
    settings = Settings(model=str(folder), threads=1)
    with (
        serving(settings, lambda: load_serving(settings)[0]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def test_greedy_answer_equals_generate(
    http: httpx.Client, folder: Path, oracle: LlamaForCausalLM
) -> None:
    tokenizer = JsonTokenizer((folder / "tokenizer.json").read_bytes(), "<s>", "</s>")
    ids = tokenizer.encode_markup("<s>[user] Hello there</s>[assistant]")
    wanted = greedy_tokens(oracle, ids, 20)
    body = {"messages": MESSAGES, "temperature": 0, "max_tokens": 20, "ignore_eos": True}
    answer = http.post("/v1/chat/completions", json=body).json()
    assert answer["usage"]["prompt_tokens"] == len(ids)
    text = answer["choices"][0]["message"]["content"]
    assert text == tokenizer.decode(wanted)


def test_card_says_text(http: httpx.Client) -> None:
    (card,) = http.get("/v1/models").json()["data"]
    assert (card["id"], card["modalities"]) == ("toy-llama", ["text"])


def test_media_are_refused(http: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "sample:none.png"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    response = http.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_content_type")
    assert error["message"] == "The model 'toy-llama' reads text only; send messages without media."
    assert error["param"] == "messages[0].content[0].image_url"


def test_tokens_of_its_own_template(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"messages": MESSAGES, "max_tokens": 1}).json()
    texts = []
    for asks in (True, False):
        body = {"messages": MESSAGES, "add_generation_prompt": asks}
        tokens = http.post("/tokenize", json=body).json()
        texts.append(http.post("/detokenize", json={"tokens": tokens["tokens"]}).json()["prompt"])
        assert not asks or tokens["count"] == answer["usage"]["prompt_tokens"]
    assert texts == ["<s>[user] Hello there</s>[assistant]", "<s>[user] Hello there</s>"]


def test_hashes_end_an_answer_only_in_pandagpts_template(folder: Path) -> None:
    tokenizer = JsonTokenizer((folder / "tokenizer.json").read_bytes(), "<s>", "</s>")
    own = ServedModel("m", tokenizer, 128, 600, chat_template=ChatTemplate(TEMPLATE, folder))
    panda = ServedModel("m", tokenizer, 128, 600)
    assert (own.turn_stop, panda.turn_stop) == ("", "###")
    turns = [Turn("user", ("Hi",))]
    shown = [tokenizer.decode(m.prompt(turns, "sum").token_ids) for m in (own, panda)]
    assert shown == ["[user] Hi[assistant]", "### Human: Hi\n### Assistant:"]
