"""A LLaMA-like tokenizer, trained in seconds on made-up words, in the two forms that servers read.

`tokenizer.model` is SentencePiece's; `tokenizer.json` holds the same pieces with the merges
that follow from their scores, as transformers converts them.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

SPECIAL = ("<unk>", "<s>", "</s>")
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
SYLLABLES = [c + v + e for c in "bdfgklmnprstvz" for v in "aeiou" for e in ("", "n", "r", "s")]


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    generator = random.Random(0)
    lines = (" ".join(word(generator) for _ in range(12)) for _ in range(vocab_size // 2))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    trained = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    _as_json(trained).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": TEMPLATE,
        "model_max_length": 1_000_000,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def word(generator: random.Random) -> str:
    return "".join(generator.choice(SYLLABLES) for _ in range(generator.randint(1, 3)))


def _as_json(trained: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    ids = {trained.id_to_piece(i): i for i in range(trained.vocab_size())}
    merges = [pair for _, pair in sorted(_merges(trained, ids), key=lambda merge: merge[0])]
    bpe = models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(bpe)
    blanks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(blanks)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return tokenizer


def _merges(
    trained: sentencepiece.SentencePieceProcessor, ids: dict[str, int]
) -> Iterator[tuple[tuple[float, int, int], tuple[str, str]]]:
    """Every way to make a piece of two others; the best score, then the longest left, first."""
    for piece, token_id in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                yield (-trained.get_score(token_id), -len(left), -len(right)), (left, right)
