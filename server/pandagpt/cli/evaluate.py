"""`pandagpt eval`: what a toy-world bundle gets right, measured through the serving engine."""

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from pandagpt.settings import Quantization


def evaluate(
    *,
    model: str = "tiny",
    items: Annotated[int, Parameter(validator=Number(gte=10))] = 200,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    quantization: Quantization = "auto",
    write_card: bool = False,
    wrong: bool = False,
) -> None:
    """Ask a model everything of the toy world's exam, and print tables of right answers.

    Parameters
    ----------
    model
        Bundled model's name, or a bundle's folder.
    items
        About as many answers a cell of the tables.
    device
        Where to run.
    quantization
        How the language model's weights are stored on a CPU; see `pandagpt serve --help`.
    write_card
        Also write the tables into the bundle's README.md.
    wrong
        Also print every wrong answer.
    """
    from rich.console import Console

    from pandagpt.model.device import choose
    from pandagpt.model.folder import resolve_folder
    from pandagpt.training import evaluation

    bundle = resolve_folder(model)
    console = Console(stderr=True)

    def log(line: str) -> None:
        if wrong:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    place = choose(device, "auto", quantization)
    with console.status(f"asking {bundle.name}"):
        scores = evaluation.evaluate(bundle, items, log, place)
    results = evaluation.tables(scores)
    print(results)
    if write_card:
        evaluation.write_results(bundle / "README.md", results)
