"""What the operator sees first: where the server is, and a line to try."""

import json
from collections.abc import Sequence

from rich.console import Console

import pandagpt
from pandagpt.api.source import SAMPLE_SCHEME, sample_names
from pandagpt.engine.messages import Ready

QUESTION = "What is this?"
GREETING = "Hello!"


def show_loading(url: str, model: str) -> None:
    _print(f"[bold]PandaGPT server {pandagpt.__version__}[/bold]   loading {model} ...   {url}")


def show_welcome(
    url: str, models: Sequence[str], engine: Ready, *, has_key: bool, reads_media: bool
) -> None:
    key = "key needed" if has_key else "no key needed"
    _print(f"  Models  {', '.join(models)}   ({engine.hardware})")
    _print(f"  API     {url}/v1   ({key})")
    _print(f"  Docs    {url}/docs      Health  {url}/health, {url}/ready")
    _print(f"  Room    {engine.capacity}")
    _print(f"  Try:    {_curl(url, has_key, _content() if reads_media else GREETING)}")


def _curl(url: str, has_key: bool, content: object) -> str:
    key = '-H "Authorization: Bearer $PANDAGPT_API_KEY" ' if has_key else ""
    body = json.dumps({"messages": [{"role": "user", "content": content}]})
    return f"curl {url}/v1/chat/completions {key}-H 'Content-Type: application/json' -d '{body}'"


def _content() -> object:
    pictures = [name for name in sample_names() if name.endswith(".png") and name.count(".") == 1]
    if not pictures:
        return GREETING
    image = {"url": SAMPLE_SCHEME + pictures[0]}
    return [{"type": "image_url", "image_url": image}, {"type": "text", "text": QUESTION}]


def _print(line: str) -> None:
    # Never wrapped: the line to try must survive being pasted.
    Console(soft_wrap=True, highlight=False).print(line)
