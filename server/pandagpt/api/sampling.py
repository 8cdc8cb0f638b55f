"""A chat request to the engine's sampling parameters: the checks that need the model."""

from pandagpt.api.answer_form import AnswerForm
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.serving import ServedModel
from pandagpt.engine.request import SamplingParams
from pandagpt.errors import InvalidValue


def sampling_params(chat: ChatRequest, model: ServedModel, prompt_length: int) -> SamplingParams:
    """`prompt_length` is less than the context length. Raises InvalidValue, InvalidSchema."""
    form = AnswerForm.of(chat)
    return SamplingParams(
        max_tokens=_max_tokens(chat, model, prompt_length),
        temperature=chat.temperature,
        top_p=chat.top_p,
        top_k=min(max(chat.top_k, 0), model.vocab_size),
        min_p=chat.min_p,
        presence_penalty=chat.presence_penalty,
        frequency_penalty=chat.frequency_penalty,
        repetition_penalty=chat.repetition_penalty,
        logit_bias=_logit_bias(chat, model),
        seed=chat.seed,
        min_tokens=chat.min_tokens,
        stop=tuple(chat.stop),
        turn_stop=model.turn_stop if form.is_free else "",
        stop_token_ids=_stop_token_ids(chat, model),
        ignore_eos=chat.ignore_eos,
        include_stop_str_in_output=chat.include_stop_str_in_output,
        skip_special_tokens=chat.skip_special_tokens,
        logprobs=_num_logprobs(chat),
        grammar=form.grammar,
    )


def _max_tokens(chat: ChatRequest, model: ServedModel, prompt_length: int) -> int:
    left = model.max_model_len - prompt_length
    asked = left if chat.requested_tokens is None else chat.requested_tokens
    if asked > model.max_model_len:
        raise InvalidValue(
            f"'{chat.tokens_field}' is {asked}, but the model's context has only "
            f"{model.max_model_len} tokens.",
            chat.tokens_field,
        )
    if chat.min_tokens > asked:
        message = f"'min_tokens' is {chat.min_tokens}, above the {asked} tokens of the answer."
        raise InvalidValue(message, "min_tokens")
    return min(asked, left)


def _logit_bias(chat: ChatRequest, model: ServedModel) -> dict[int, float]:
    bias = {int(key): value for key, value in chat.logit_bias.items()}
    if bias:
        _check_token(max(bias), model, "logit_bias")
    return bias


def _stop_token_ids(chat: ChatRequest, model: ServedModel) -> tuple[int, ...]:
    if chat.stop_token_ids:
        _check_token(max(chat.stop_token_ids), model, "stop_token_ids")
    return tuple(chat.stop_token_ids)


def _check_token(token_id: int, model: ServedModel, param: str) -> None:
    if token_id >= model.vocab_size:
        last = model.vocab_size - 1
        message = f"'{param}' holds token {token_id}; this model's tokens are 0 to {last}."
        raise InvalidValue(message, param)


def _num_logprobs(chat: ChatRequest) -> int | None:
    if chat.logprobs:
        return chat.top_logprobs or 0
    if chat.top_logprobs is not None:
        raise InvalidValue("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    return None
