"""What several models in one batch cost: a step of the bundled model, by who is in it.

    python -m tests.bench.models [--model tiny] [--tries 9]

Decode steps of the compiled decoder (of torch's, without a compiler) at full speed, without
HTTP, in milliseconds: rows of the merged model alone, half of them of the base, and all of them.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from pandagpt.model.adapter_folder import VariantSource
from pandagpt.model.device import choose
from pandagpt.model.folder import resolve_folder
from pandagpt.model.loader import load_model
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.patch import Patched
from tests.bench.process import machine

ROWS = (1, 32)
STEPS = 40
PROMPT_TOKENS = 100


@torch.inference_mode()
def step_milliseconds(model: PandaGPT, num_rows: int, num_base: int) -> float:
    """Rows 0, 1, ... are the base's; the median of some steps."""
    llama = model.llama
    number = model.variants["base"].difference
    patched: Patched = {number: range(num_base)} if num_base else {}
    cache = llama.new_cache(num_rows, PROMPT_TOKENS + STEPS)
    seconds = []
    for step in range(STEPS):
        positions = torch.full((num_rows,), PROMPT_TOKENS + step)
        embeds = llama.embed(torch.full((num_rows,), 5))
        start = time.perf_counter()
        llama.logits(llama(embeds, positions, cache, num_rows, [], patched))
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--tries", type=int, default=9)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    place = choose("cpu", "auto", "auto")
    folder = resolve_folder(options.model)
    sources = [VariantSource("base", None)]
    model = load_model(folder, place, sources)
    cases = [(rows, base) for rows in ROWS for base in sorted({0, rows // 2, rows})]
    tries = [[step_milliseconds(model, *case) for case in cases] for _ in range(options.tries)]
    print(f"{machine()}\n\n| rows | of the base | ms a step |\n|---|---|---|")
    for (rows, base), runs in zip(cases, zip(*tries, strict=True), strict=True):
        print(f"| {rows} | {base} | {min(runs):.3f} (median {statistics.median(runs):.3f}) |")


if __name__ == "__main__":
    main()
