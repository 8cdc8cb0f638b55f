"""What constrained answers cost the rows beside them: the engine alone, without HTTP.

    python -m tests.bench.grammar [--model tiny] [--device auto] [--rows 16] [--temperature 0]

Every row writes as many tokens; only how many of them are held to a schema differs. The runs
of the three mixes alternate, so that a busy machine slows all alike.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.engine import Engine
from pandagpt.engine.grammar import CompileJob, GrammarCompiler, Words, compiler_of, json_rule
from pandagpt.engine.request import GenerateRequest, Grammar, SamplingParams
from pandagpt.engine.runner import Runner
from pandagpt.model.device import choose
from pandagpt.model.folder import resolve_folder
from pandagpt.model.loader import load_model
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import Turn, render
from pandagpt.model.tokenizer import Tokenizer
from tests.bench import process

NUM_TOKENS = 100
TRIES = 15
WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1000}
"""An answer that never ends on its own."""
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["frog", "bird", "car"]}},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def grammar(schema: dict[str, Any]) -> Grammar:
    return Grammar(f"answer: {json_rule(schema)}")


def milliseconds(run: Any) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000


def mask_times(tokenizer: Tokenizer, vocab_size: int) -> Iterator[tuple[str, float]]:
    """Of one text token by token, in milliseconds."""
    words = Words.of(tokenizer, vocab_size)
    compiler = GrammarCompiler(words)
    yield "vocabulary read, ms", milliseconds(lambda: GrammarCompiler(words))
    yield "schema compiled, ms", milliseconds(lambda: compiler.compile(grammar(PERSON)))
    matcher = compiler.compile(grammar(PERSON))
    times = []
    for token_id in tokenizer.encode(
        '{"name":"A. Frog of the pond","age":12,"tags":["frog","car"]}'
    ):
        times.append(milliseconds(matcher.allowed))
        matcher.accept(token_id)
    yield "mask of one token, ms (mean)", statistics.mean(times)
    yield "mask of one token, ms (most)", max(times)


def step_ms(model: PandaGPT, runner: Runner, params: Sequence[SamplingParams]) -> float:
    """The median of the decoding steps."""
    runner.reset()
    engine = Engine(runner, EngineConfig(prefix_cache_bytes=0))
    compiler = compiler_of(model.tokenizer, model.llama.config.vocab_size)
    prompt = render([Turn("user", ("What is it?",))], model.tokenizer, "sum")
    for row, row_params in enumerate(params):
        engine.add(GenerateRequest(str(row), prompt, (), row_params))
        if row_params.grammar:
            engine.add_grammar(compiler.run(CompileJob(str(row), row_params.grammar)))
    engine.step()
    return statistics.median(milliseconds(engine.step) for _ in range(NUM_TOKENS - 10))


def mixes(num_rows: int, temperature: float) -> dict[str, list[SamplingParams]]:
    def params(row: int, held: Grammar | None) -> SamplingParams:
        return SamplingParams(
            NUM_TOKENS, temperature, seed=row, ignore_eos=True, turn_stop="", grammar=held
        )

    nums = {"none": 0, "a quarter": num_rows // 4, "all": num_rows}
    return {
        name: [params(row, grammar(WORDS) if row < num else None) for row in range(num_rows)]
        for name, num in nums.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args(arguments)
    config = EngineConfig()
    torch.set_num_threads(config.num_threads)
    place = choose(options.device, "auto", "auto")
    folder = Path(resolve_folder(options.model))
    model = load_model(folder, place)
    runner = Runner(model, config)
    print(f"{process.machine()}; {place}\n\n| measure | value |\n|---|---|")
    for name, value in mask_times(model.tokenizer, model.llama.config.vocab_size):
        print(f"| {name} | {value:.3f} |")
    params = mixes(options.rows, options.temperature)
    times: dict[str, list[float]] = {name: [] for name in params}
    for _ in range(TRIES):
        for name, rows in params.items():
            times[name].append(step_ms(model, runner, rows))
    base = statistics.median(times["none"])
    for name, values in times.items():
        value = statistics.median(values)
        held = f"step of {options.rows} rows, {name} held to a schema, ms"
        print(f"| {held} | {value:.3f} ({value / base - 1:+.1%}) |")


if __name__ == "__main__":
    main()
