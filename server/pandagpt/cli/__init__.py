"""The command line: `pandagpt serve | convert | eval | train`. Composes the parts.

Heavy imports wait until a command runs, so that `--help` and errors of usage come at once.
"""

import sys

from cyclopts import App, CycloptsError
from cyclopts.config import Env

import pandagpt
from pandagpt.cli.exit import INTERRUPTED, USAGE_ERROR, fail
from pandagpt.errors import PandaError
from pandagpt.settings import explain

app = App(
    name="pandagpt",
    help="An OpenAI-compatible server for PandaGPT: six modalities, one language model.",
    version=pandagpt.__version__,
)
app.command(
    "pandagpt.cli.serve:serve",
    name="serve",
    help="Serve a model over HTTP.",
    config=Env("PANDAGPT_", command=False),
)
app.command(
    "pandagpt.cli.convert:convert",
    name="convert",
    help="Convert published checkpoints into a folder to serve.",
)
app.command("pandagpt.cli.evaluate:evaluate", name="eval", help="Measure a model of the toy world.")
train = App(name="train", help="Train models with this repository's own code.")
train.command("pandagpt.cli.train:tiny", name="tiny", help="The bundled model, from nothing.")
app.command(train)


def main(arguments: list[str] | None = None) -> None:
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        cause = error.__cause__
        fail(explain(cause) if isinstance(cause, ValueError) else str(error), USAGE_ERROR)
    except PandaError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
