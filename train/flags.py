"""Every field of a recipe as a flag of the command line, its help the text beside the field."""

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from train.recipes import Recipe, check


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field of a recipe but its name."""
    group = parser.add_argument_group("the recipe, value by value (by default what the recipe says)")
    hints = get_type_hints(Recipe)
    for item in fields(Recipe):
        if item.name != "name":
            flag = "--" + item.name.replace("_", "-")
            group.add_argument(flag, default=None, help=item.metadata["help"], **_kind(hints[item.name]))


def changed(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with the values of the flags that were given.

    Raises: ValueError naming the flag whose value makes no sense.
    """
    given = {item.name: getattr(args, item.name, None) for item in fields(Recipe) if item.name != "name"}
    return check(replace(recipe, **{name: value for name, value in given.items() if value is not None}))


def described(recipe: Recipe) -> str:
    """The recipe as its flags, one a line."""
    return "\n".join(
        f"  --{item.name.replace('_', '-')} {_text(getattr(recipe, item.name))}" for item in fields(recipe)
    )


def _text(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ",".join("x".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value)


def _kind(hint: Any) -> dict[str, Any]:
    """What argparse needs to know of a field's type."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return {"type": _list_of(_scale if get_origin(inner) is tuple else inner), "metavar": "A,B,…"}
    return {"type": hint, "metavar": {int: "N", float: "X", str: "NAME"}.get(hint, "VALUE")}


def _list_of(read: Callable[[str], Any]) -> Callable[[str], tuple]:
    def comma_separated(text: str) -> tuple:
        return tuple(read(part) for part in text.split(",") if part)

    return comma_separated


def _scale(text: str) -> tuple[int, int]:
    long, short = text.lower().split("x")
    return int(long), int(short)
