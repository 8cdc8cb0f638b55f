"""A model's own chat template, as Hugging Face's folders hold it: turns in, a prompt out.

For plain language models alone; PandaGPT's template is in `prompt`. Rendered by Jinja in its
sandbox with the settings that transformers documents.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pandagpt.errors import CheckpointError, InvalidValue
from pandagpt.model.prompt import Prompt, Turn
from pandagpt.model.tokenizer import Tokenizer


class _Refusal(Exception):
    """The template's own words."""


class ChatTemplate:
    def __init__(self, source: str, path: Path) -> None:
        try:
            self._template = _compile(source)
        except TemplateSyntaxError as error:
            message = f"its chat template is not Jinja ({error.message}, line {error.lineno})"
            raise CheckpointError(message, path) from None

    def render(
        self, turns: Sequence[Turn], tokenizer: Tokenizer, *, opens_answer: bool = True
    ) -> Prompt:
        """The prompt that asks for the next answer if `opens_answer`, else the turns alone.

        Raises InvalidValue for what the template refuses.
        """
        messages = [{"role": turn.role, "content": _text(turn, tokenizer)} for turn in turns]
        try:
            text = self._template.render(
                messages=messages,
                add_generation_prompt=opens_answer,
                bos_token=tokenizer.piece(tokenizer.bos_id),
                eos_token=tokenizer.piece(tokenizer.eos_id),
            )
        except _Refusal as refusal:
            message = f"This model's chat template refuses these messages: {refusal}"
            raise InvalidValue(message, "messages") from None
        except (TemplateError, TypeError):
            message = "This model's chat template cannot render these messages."
            raise InvalidValue(message, "messages") from None
        return Prompt(tuple(tokenizer.encode_markup(text)))


def read_chat_template(folder: Path, settings: Mapping[str, Any]) -> ChatTemplate | None:
    """`chat_template.jinja` before the one in `settings`, which is tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return ChatTemplate(path.read_text(encoding="utf-8"), path)
    source = settings.get("chat_template")
    if isinstance(source, list):
        named = {entry["name"]: entry["template"] for entry in source}
        source = named.get("default")
    return ChatTemplate(source, folder / "tokenizer_config.json") if source else None


def _text(turn: Turn, tokenizer: Tokenizer) -> str:
    """Texts cannot forge the template: a special token typed by a caller is broken up."""
    text = "\n".join(part for part in turn.parts if isinstance(part, str))
    for piece in tokenizer.special_pieces:
        text = text.replace(piece, f"{piece[0]} {piece[1:]}")
    return text


def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    return environment.from_string(source, {"raise_exception": _refuse, "strftime_now": _now})


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(message: str) -> NoReturn:
    raise _Refusal(message)
