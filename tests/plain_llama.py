"""Plain LLaMA folders as transformers writes them: random, tiny, with either kind of tokenizer."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

TokenizerKind = Literal["sentencepiece", "byte_level", "pieces"]

SPECIAL = ["<unk>", "<s>", "</s>"]
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 128,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def write_folder(
    folder: Path,
    sentencepiece: Path,
    kind: TokenizerKind = "sentencepiece",
    chat_template: str | None = None,
    shard_size: str = "1GB",
    **fields: Any,
) -> LlamaForCausalLM:
    """Returns the model that was written, for comparison."""
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
    }
    if chat_template:
        settings["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    vocab_size = 2304
    if kind == "sentencepiece":
        shutil.copy(sentencepiece, folder / "tokenizer.model")
    else:
        tokenizer = byte_level() if kind == "byte_level" else pieces()
        tokenizer.save(str(folder / "tokenizer.json"))
        vocab_size = tokenizer.get_vocab_size()
    config = LlamaConfig.from_dict(SHAPE | {"vocab_size": vocab_size} | fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = LlamaForCausalLM(config).eval()
        for name, weight in model.named_parameters():
            if not name.endswith("norm.weight"):
                torch.nn.init.normal_(weight, std=1.0 if "embed" in name else 0.2)
    model.save_pretrained(folder, max_shard_size=shard_size)
    return model


def greedy_tokens(model: Any, ids: Sequence[int], num_tokens: int) -> list[int]:
    """By transformers' `generate`; runs past the end, as `ignore_eos` does."""
    options = {"do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    whole = model.generate(torch.tensor([ids]), max_new_tokens=num_tokens, **options)
    return whole[0, len(ids) :].tolist()


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_words(), trainer)
    return tokenizer


def pieces() -> Tokenizer:
    """SentencePiece's way, as transformers converts LLaMA's tokenizer.model."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    blanks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(blanks)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=tokens, show_progress=False)
    tokenizer.train_from_iterator(_words(), trainer)
    # Bytes are no special tokens: the trainer only needed them to come first.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][: len(SPECIAL)]
    return Tokenizer.from_str(json.dumps(data))


def _words() -> Iterator[str]:
    text = Path(__file__).read_text()
    yield from (line.strip() for line in text.splitlines() * 3)
