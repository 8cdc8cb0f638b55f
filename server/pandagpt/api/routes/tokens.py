"""/tokenize and /detokenize: what a text or a conversation costs in tokens, and tokens as text."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from pandagpt.api.body import read_body
from pandagpt.api.openapi import describe
from pandagpt.api.schemas.answers import Text, Tokens
from pandagpt.api.schemas.tokens import DetokenizeRequest, TokenizeRequest
from pandagpt.api.serving import ServedModel
from pandagpt.api.state import find_model, state_of
from pandagpt.errors import InvalidValue, MissingParameter

router = APIRouter(tags=["tokens"])

TEXT: dict[str, Any] = {"A text": {"prompt": "What is this?"}}
TOKENS: dict[str, Any] = {"Two tokens": {"tokens": [1, 2]}}


@router.post("/tokenize", **describe(Tokens, TokenizeRequest, TEXT))
async def tokenize(request: Request) -> dict[str, Any]:
    """Of messages: exactly the prompt of that chat; a medium's slot is shown as token 0."""
    wanted = await read_body(request, TokenizeRequest)
    model = find_model(state_of(request).holder.serving, wanted.model)
    tokens = await _tokens(request, wanted, model)
    answer = {"count": len(tokens), "max_model_len": model.max_model_len, "tokens": tokens}
    if wanted.return_token_strs:
        answer["token_strs"] = [model.tokenizer.piece(token) for token in tokens]
    return answer


async def _tokens(request: Request, wanted: TokenizeRequest, model: ServedModel) -> Sequence[int]:
    """Raises MissingParameter, InvalidValue and what the intake raises."""
    intake = state_of(request).intake
    if wanted.prompt is None:
        if not wanted.messages:
            message = "Missing required parameter: 'prompt', or 'messages'."
            raise MissingParameter(message, "prompt")
        opens_answer = wanted.add_generation_prompt
        return (await intake.prompt(wanted, model, opens_answer=opens_answer)).token_ids
    if wanted.messages:
        raise InvalidValue("Give either 'prompt' or 'messages', not both.", "messages")
    return await intake.token_ids(wanted.prompt, model, has_special=wanted.add_special_tokens)


@router.post("/detokenize", **describe(Text, DetokenizeRequest, TOKENS))
async def detokenize(request: Request) -> dict[str, Any]:
    """Special tokens are written out, as vLLM does."""
    wanted = await read_body(request, DetokenizeRequest)
    model = find_model(state_of(request).holder.serving, wanted.model)
    _check_tokens(wanted.tokens, model)
    return {"prompt": await run_in_threadpool(model.tokenizer.decode, wanted.tokens, False)}


def _check_tokens(tokens: Sequence[int], model: ServedModel) -> None:
    for index, token in enumerate(tokens):
        if token >= model.vocab_size:
            param, last = f"tokens[{index}]", model.vocab_size - 1
            raise InvalidValue(f"Invalid '{param}': the model's last token is {last}.", param)
