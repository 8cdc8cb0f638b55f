"""A Hugging Face LLaMA folder to llama.cpp's GGUF: `python gguf_file.py FOLDER f16|q8_0 OUT`.

Runs in llama.cpp's venv, which has `gguf`; imports nothing of this repository.
"""

import json
import sys
from pathlib import Path

import gguf  # ty: ignore[import-not-found]
import numpy as np
import sentencepiece
from safetensors.numpy import load_file

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
QUANTIZATIONS = {
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}


def main(folder: Path, kind: str, out: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(str(out), "llama")
    add_config(writer, config, kind)
    add_tokenizer(writer, folder)
    for key, tensor in load_file(folder / "model.safetensors").items():
        add_tensor(writer, key.removesuffix(".weight"), tensor, config, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_config(writer: gguf.GGUFWriter, config: dict, kind: str) -> None:
    heads = config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config.get("rope_parameters", config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    file_types = gguf.LlamaFileType
    writer.add_file_type(file_types.MOSTLY_F16 if kind == "f16" else file_types.MOSTLY_Q8_0)


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    ids = range(processor.vocab_size())
    writer.add_tokenizer_model("llama")
    writer.add_token_list([processor.id_to_piece(i).encode() for i in ids])
    writer.add_token_scores([processor.get_score(i) for i in ids])
    writer.add_token_types([token_type(processor, i) for i in ids])
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_add_bos_token(True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    writer.add_chat_template(settings["chat_template"])


def token_type(processor: sentencepiece.SentencePieceProcessor, token_id: int) -> int:
    if processor.is_unknown(token_id):
        return gguf.TokenType.UNKNOWN
    if processor.is_control(token_id):
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if processor.is_byte(token_id) else gguf.TokenType.NORMAL


def add_tensor(
    writer: gguf.GGUFWriter, key: str, tensor: np.ndarray, config: dict, kind: str
) -> None:
    if key.endswith("q_proj"):
        tensor = interleaved(tensor, config["num_attention_heads"])
    if key.endswith("k_proj"):
        tensor = interleaved(tensor, config["num_key_value_heads"])
    if tensor.ndim == 1:
        writer.add_tensor(name_of(key), tensor)
        return
    quantization = QUANTIZATIONS[kind]
    data = gguf.quants.quantize(tensor, quantization)
    writer.add_tensor(name_of(key), data, raw_dtype=quantization)


def name_of(key: str) -> str:
    if key in TOP:
        return f"{TOP[key]}.weight"
    _, _, layer, name = key.split(".", 3)
    return f"blk.{layer}.{NAMES[name]}.weight"


def interleaved(tensor: np.ndarray, num_heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring pairs, Hugging Face's weights are for halves."""
    rows, columns = tensor.shape
    halves = tensor.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
