"""A prompt without a template: a text or token ids in, the engine's prompt out."""

from pandagpt.api.serving import ServedModel
from pandagpt.errors import InvalidValue
from pandagpt.model.prompt import Prompt


def raw_prompt(given: str | list[int], model: ServedModel, *, begins: bool) -> tuple[Prompt, str]:
    """And its text. Ids are used as they are; a text `begins` with the token for it, or not."""
    tokenizer = model.tokenizer
    if isinstance(given, str):
        ids = [tokenizer.bos_id] * begins + tokenizer.encode(given)
        if not ids:
            raise InvalidValue("An empty prompt needs 'add_special_tokens' to be true.")
        return Prompt(tuple(ids)), given
    if (largest := max(given)) >= model.vocab_size:
        last = model.vocab_size - 1
        raise InvalidValue(f"The prompt has token {largest}; this model's tokens are 0 to {last}.")
    return Prompt(tuple(given)), tokenizer.decode(given)
