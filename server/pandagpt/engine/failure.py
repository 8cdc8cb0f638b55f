"""What a client hears of an exception that has ended its request: never the exception itself."""

from pandagpt.errors import EngineFailure, InvalidSchema, Overloaded, PandaError
from pandagpt.model.device import is_out_of_memory


def engine_failure() -> EngineFailure:
    return EngineFailure("The engine failed while it served this request. Try again.")


def failure_by(error: Exception) -> PandaError:
    if isinstance(error, InvalidSchema):
        return error
    if is_out_of_memory(error):
        return Overloaded("There is no memory left to serve this request. Try again later.", 5)
    return engine_failure()
