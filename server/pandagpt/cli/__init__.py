"""The command line: `pandagpt serve | convert | eval | train`. Composes the parts.

Heavy imports wait until a command runs, so that `--help` and errors of usage come at once.
"""

import sys

from cyclopts import App
from cyclopts.config import Env

import pandagpt
from pandagpt.cli.exit import OperatorError, fail
from pandagpt.errors import PandaError

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


def main() -> None:
    try:
        app()
    except (PandaError, OperatorError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
