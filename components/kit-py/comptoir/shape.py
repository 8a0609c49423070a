"""Types of bodies and queries: reads dataclasses from JSON, and describes them as JSON Schemas for the OpenAPI document.

A field is a `str`, `int`, `float`, `bool`, a `Literal` of strings, a `list` of one of these, another dataclass, or one of them `| None`.
`Annotated` adds a `Length` or a `Range`. A field with a default may be absent.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import HttpError


@dataclass(frozen=True)
class Length:
    """The number of characters of a text, or of items of a list: `Annotated[str, Length(1, 200)]`."""

    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True)
class Range:
    """The range of a number, both inclusive: `Annotated[int, Range(1, 100)]`."""

    minimum: float | None = None
    maximum: float | None = None


class Misfit(Exception):
    """A value that does not fit its type. The reason continues a sentence such as "The field title …"."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(why)
        self.path = path


@dataclass(frozen=True)
class Shape:
    """A type, taken apart."""

    kind: Any
    """`str`, `int`, `float`, `bool`, `list`, `Literal` or a dataclass."""
    parts: tuple[Any, ...] = ()
    """The type of a list's items, or the values of a `Literal`."""
    length: Length = Length()
    range: Range = Range()
    is_nullable: bool = False


def shape_of(hint: Any) -> Shape:
    """Takes a type hint apart.

    Raises TypeError for a type that a body cannot have.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits: Any = {type(limit).__name__.lower(): limit for limit in arguments[1:] if isinstance(limit, Length | Range)}
        return dataclasses.replace(shape_of(arguments[0]), **limits)
    if origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
        [inner] = [each for each in arguments if each is not NoneType]
        return dataclasses.replace(shape_of(inner), is_nullable=True)
    if origin in (list, Literal):
        return Shape(origin, arguments)
    if hint in (str, int, float, bool) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return Shape(hint)
    raise TypeError(f"a body cannot have the type {hint}")


def fields_of(cls: type) -> dict[str, tuple[Any, bool]]:
    """The type hint of each field, and whether it must be present."""
    hints = get_type_hints(cls, include_extras=True)
    required = {each.name: each.default is MISSING and each.default_factory is MISSING for each in dataclasses.fields(cls)}
    return {name: (hints[name], is_required) for name, is_required in required.items()}


def refuse_if(is_wrong: bool, path: str, why: str) -> None:
    if is_wrong:
        raise Misfit(path, why)


def read(hint: Any, value: Any, path: str = "") -> Any:
    """A JSON value as its type. Raises `Misfit`."""
    shape = shape_of(hint)
    if value is None and shape.is_nullable:
        return None
    readers: dict[Any, Callable[[Shape, Any, str], Any]] = {
        str: read_text, int: read_int, float: read_float, bool: read_bool, list: read_list, Literal: read_literal,
    }
    return readers.get(shape.kind, read_object)(shape, value, path)


def read_text(shape: Shape, value: Any, path: str) -> str:
    refuse_if(not isinstance(value, str), path, "must be a string")
    refuse_if("\0" in value, path, "must not contain U+0000")  # PostgreSQL cannot store it
    refuse_if(re.search("[\ud800-\udfff]", value) is not None, path, "must not contain unpaired surrogates")
    refuse_if(value == "" and shape.length.minimum == 1, path, "must not be empty")
    check_length(shape.length, value, path, "characters")
    return value


def check_length(length: Length, value: Any, path: str, unit: str) -> None:
    refuse_if(len(value) < length.minimum, path, f"must have at least {length.minimum} {unit}")
    is_long = length.maximum is not None and len(value) > length.maximum
    refuse_if(is_long, path, f"must have at most {length.maximum} {unit}")


def read_int(shape: Shape, value: Any, path: str) -> int:
    is_integer = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    refuse_if(not is_integer or not is_within(shape.range, value), path, f"must be an integer{words(shape.range)}")
    return value


def read_float(shape: Shape, value: Any, path: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1.7e308
    refuse_if(not is_number or not is_within(shape.range, value), path, f"must be a number{words(shape.range)}")
    return float(value)


def is_within(limits: Range, value: Any) -> bool:
    minimum = -math.inf if limits.minimum is None else limits.minimum
    maximum = math.inf if limits.maximum is None else limits.maximum
    return minimum <= value <= maximum


def words(limits: Range) -> str:
    match limits:
        case Range(None, None):
            return ""
        case Range(None, maximum):
            return f" of at most {maximum}"
        case Range(minimum, None):
            return f" of at least {minimum}"
    return f" from {limits.minimum} to {limits.maximum}"


def read_bool(_: Shape, value: Any, path: str) -> bool:
    refuse_if(not isinstance(value, bool), path, "must be a boolean")
    return value


def read_literal(shape: Shape, value: Any, path: str) -> str:
    refuse_if(not isinstance(value, str), path, "must be a string")
    refuse_if(value not in shape.parts, path, f"must be one of {', '.join(shape.parts)}")
    return value


def read_list(shape: Shape, value: Any, path: str) -> list[Any]:
    refuse_if(not isinstance(value, list), path, "must be an array")
    check_length(shape.length, value, path, "items")
    return [read(shape.parts[0], item, f"{path}[{index}]") for index, item in enumerate(value)]


def read_object(shape: Shape, value: Any, path: str) -> Any:
    """What is missing comes first, because a client has to add it in any case. Unknown fields come last."""
    refuse_if(not isinstance(value, dict), path, "must be an object")
    fields = fields_of(shape.kind)
    for name, (_, is_required) in fields.items():
        refuse_if(is_required and name not in value, within(path, name), "is missing")
    found = {name: read(hint, value[name], within(path, name)) for name, (hint, _) in fields.items() if name in value}
    for name in value:
        refuse_if(name not in fields, within(path, name), "is unknown")
    return shape.kind(**found)


def within(path: str, name: str) -> str:
    """The path of a field. Shows at most 64 characters of its name, without control characters and surrogates."""
    shown = re.sub("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", name[:64])
    return f"{path}.{shown}" if path else shown


def read_body(cls: type, value: Any) -> Any:
    """A body as its dataclass. Raises 422 `INVALID_FIELD`."""
    try:
        return read(cls, value)
    except Misfit as misfit:
        if misfit.path == "":
            raise HttpError(422, "INVALID_FIELD", f"The body {misfit}.") from None
        raise refusal(422, "INVALID_FIELD", "The field", misfit) from None


def read_query(cls: type, pairs: list[tuple[str, str]]) -> Any:
    """A query as its dataclass. Raises 400 `INVALID_QUERY`."""
    hints, names = fields_of(cls), [name for name, _ in pairs]
    try:
        for name in names:
            refuse_if(names.count(name) > 1, within("", name), "is given twice")
        return read(cls, {name: parsed(hints[name][0], text) if name in hints else text for name, text in pairs})
    except Misfit as misfit:
        raise refusal(400, "INVALID_QUERY", "The query parameter", misfit) from None


def refusal(status: int, code: str, subject: str, misfit: Misfit) -> HttpError:
    return HttpError(status, code, f"{subject} {misfit.path} {misfit}.", details={"field": misfit.path})


def parsed(hint: Any, text: str) -> Any:
    """The value of a text in a query. A text that does not fit stays a text, which the type refuses."""
    kind = shape_of(hint).kind
    if kind is int and re.fullmatch("-?[0-9]{1,20}", text):
        return int(text)
    if kind is float and re.fullmatch(r"-?[0-9]{1,300}(\.[0-9]{1,300})?", text):
        return float(text)
    if kind is bool and text in ("true", "false"):
        return text == "true"
    return text


def schema_of(hint: Any, named: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a type. Adds the schemas of dataclasses to `named`, and refers to them."""
    shape = shape_of(hint)
    schema = inner_schema(shape, named)
    return {"anyOf": [schema, {"type": "null"}]} if shape.is_nullable else schema


def inner_schema(shape: Shape, named: dict[str, Any]) -> dict[str, Any]:
    length, limits = shape.length, shape.range
    least = {} if limits.minimum is None else {"minimum": limits.minimum}
    most = {} if limits.maximum is None else {"maximum": limits.maximum}
    if shape.kind is str:
        return {"type": "string", **sizes(length, "Length")}
    if shape.kind is int:
        return {"type": "integer", "format": "int64", **least, **most}
    if shape.kind is float:
        return {"type": "number", **least, **most}
    if shape.kind is bool:
        return {"type": "boolean"}
    if shape.kind is Literal:
        return {"type": "string", "enum": list(shape.parts)}
    if shape.kind is list:
        return {"type": "array", "items": schema_of(shape.parts[0], named), **sizes(length, "Items")}
    return reference(shape.kind, named)


def sizes(length: Length, unit: str) -> dict[str, int]:
    least = {f"min{unit}": length.minimum} if length.minimum > 0 else {}
    return least if length.maximum is None else {**least, f"max{unit}": length.maximum}


def reference(cls: type, named: dict[str, Any]) -> dict[str, Any]:
    name = cls.__name__
    if name not in named:
        named[name] = None  # a dataclass may contain itself
        named[name] = object_schema(cls, named)
    return {"$ref": f"#/components/schemas/{name}"}


def object_schema(cls: type, named: dict[str, Any]) -> dict[str, Any]:
    fields = fields_of(cls)
    properties = {name: schema_of(hint, named) for name, (hint, _) in fields.items()}
    required = [name for name, (_, is_required) in fields.items() if is_required]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema
