"""A request's fields to the engine's sampling parameters: the checks that need the model."""

from pandagpt.api.answer_form import AnswerForm
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.completion import CompletionRequest
from pandagpt.api.serving import ServedModel
from pandagpt.engine.request import SamplingParams
from pandagpt.errors import InvalidValue

Asked = ChatRequest | CompletionRequest


def sampling_params(
    asked: Asked, model: ServedModel, prompt_length: int, form: AnswerForm
) -> SamplingParams:
    """`prompt_length` is less than the context length. Raises InvalidValue."""
    return SamplingParams(
        max_tokens=_max_tokens(asked, model, prompt_length),
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=min(max(asked.top_k, 0), model.vocab_size),
        min_p=asked.min_p,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repetition_penalty=asked.repetition_penalty,
        logit_bias=_logit_bias(asked, model),
        seed=asked.seed,
        min_tokens=asked.min_tokens,
        stop=tuple(asked.stop),
        turn_stop=model.turn_stop if form.is_free else "",
        stop_token_ids=_stop_token_ids(asked, model),
        ignore_eos=asked.ignore_eos,
        include_stop_str_in_output=asked.include_stop_str_in_output,
        skip_special_tokens=asked.skip_special_tokens,
        logprobs=asked.num_logprobs,
        grammar=form.grammar,
    )


def _max_tokens(asked: Asked, model: ServedModel, prompt_length: int) -> int:
    left = model.max_model_len - prompt_length
    wanted = left if asked.requested_tokens is None else asked.requested_tokens
    if wanted > model.max_model_len:
        raise InvalidValue(
            f"'{asked.tokens_field}' is {wanted}, but the model's context has only "
            f"{model.max_model_len} tokens.",
            asked.tokens_field,
        )
    if asked.min_tokens > wanted:
        message = f"'min_tokens' is {asked.min_tokens}, above the {wanted} tokens of the answer."
        raise InvalidValue(message, "min_tokens")
    return min(wanted, left)


def _logit_bias(asked: Asked, model: ServedModel) -> dict[int, float]:
    bias = {int(key): value for key, value in asked.logit_bias.items()}
    if bias:
        _check_token(max(bias), model, "logit_bias")
    return bias


def _stop_token_ids(asked: Asked, model: ServedModel) -> tuple[int, ...]:
    if asked.stop_token_ids:
        _check_token(max(asked.stop_token_ids), model, "stop_token_ids")
    return tuple(asked.stop_token_ids)


def _check_token(token_id: int, model: ServedModel, param: str) -> None:
    if token_id >= model.vocab_size:
        last = model.vocab_size - 1
        message = f"'{param}' holds token {token_id}; this model's tokens are 0 to {last}."
        raise InvalidValue(message, param)
