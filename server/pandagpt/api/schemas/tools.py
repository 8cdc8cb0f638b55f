"""`tools` and `tool_choice`: functions that the model may or must call."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from pandagpt.api.schemas.request import UNSUPPORTED, UNUSABLE_SCHEMA, RequestModel
from pandagpt.api.schemas.response_format import Name

MAX_TOOLS = 128


def _function_only(value: Any) -> Any:
    if value != "function":
        raise PydanticCustomError(
            UNSUPPORTED, "Only the type 'function' is supported by this server."
        )
    return value


FunctionType = Annotated[Literal["function"], BeforeValidator(_function_only)]


def _of_an_object(parameters: dict[str, Any]) -> dict[str, Any]:
    if parameters.get("type", "object") != "object":
        raise PydanticCustomError(UNUSABLE_SCHEMA, "it must be of the type 'object'")
    return parameters


class Function(RequestModel):
    """`strict` or not, a call that must be made keeps to `parameters`. None: no parameters."""

    name: Name
    description: str = ""
    parameters: Annotated[dict[str, Any], AfterValidator(_of_an_object)] | None = None
    strict: bool = False


class Tool(RequestModel):
    type: FunctionType
    function: Function


def _distinct(tools: list[Tool]) -> list[Tool]:
    names = [tool.function.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PydanticCustomError("twice", "two tools are named '{name}'", {"name": twice})
    return tools


Tools = Annotated[
    Annotated[list[Tool], Field(max_length=MAX_TOOLS)],
    AfterValidator(_distinct),
]


class NamedFunction(RequestModel):
    name: Name


class NamedTool(RequestModel):
    type: FunctionType
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")] | Annotated[NamedTool, Tag("name")],
    Discriminator(lambda value: "name" if isinstance(value, dict | NamedTool) else "mode"),
]


def find_tool(tools: Sequence[Tool], name: str) -> Tool:
    for tool in tools:
        if tool.function.name == name:
            return tool
    raise PydanticCustomError("no_tool", "'tools' has no function '{name}'", {"name": name})
