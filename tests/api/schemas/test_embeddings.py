"""Every field of an embeddings request is honoured, or inert by contract."""

from pandagpt.api.schemas.embeddings import INERT_FIELDS, EmbeddingsRequest

HONOURED = {
    "model",
    "input",
    "messages",
    "encoding_format",
    "dimensions",
    "use_activation",
    "truncate_prompt_tokens",
}


def test_fields() -> None:
    assert set(EmbeddingsRequest.model_fields) == HONOURED
    assert not HONOURED & INERT_FIELDS
