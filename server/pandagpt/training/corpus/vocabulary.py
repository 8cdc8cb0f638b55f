"""The tiny model's SentencePiece vocabulary, learnt from the corpus it will speak.

A seed in, the bytes of a `tokenizer.model` out. Byte pieces make every text encodable.
"""

import io
from collections.abc import Iterator
from itertools import islice

import sentencepiece

from pandagpt.training.corpus.dialogues import corpus

VOCAB_SIZE = 1280
NUM_DIALOGUES = 12_000


def lines(seed: int) -> Iterator[str]:
    """Every line as the prompt shows it; LF itself stays a byte piece, as in LLaMA's vocabulary."""
    for dialogue in islice(corpus(seed), NUM_DIALOGUES):
        for index, (question, answer) in enumerate(dialogue.exchanges):
            yield f"### Human: {question}" if index else f"### Human: <Img> </Img> {question}"
            yield f"### Assistant: {answer}"
            yield "###"
        yield from (slot.phrase for slot in dialogue.slots)


def train_vocabulary(seed: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(seed),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        max_sentence_length=1 << 16,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()
