"""The encoder's text tokens against the reference's."""

import json
from pathlib import Path

from pandagpt.media.text import TextTokenizer


def test_clip_tokens(golden: Path) -> None:
    tokenizer = TextTokenizer.clip()
    for case in json.loads((golden / "preprocess_io" / "text_tokens.json").read_text()):
        row = tokenizer.encode(case["text"])
        assert row.tolist() == case["ids"], case["text"]
        assert row.argmax() == case["pool_index"], case["text"]


def test_the_older_truncation(golden: Path) -> None:
    tokenizer = TextTokenizer.clip()
    for case in json.loads((golden / "preprocess_io" / "text_tokens.json").read_text()):
        row = tokenizer.encode(case["text"], truncation="lose_end")
        assert row.tolist() == (case["ids_pandagpt_copy"] or case["ids"]), case["text"]
