"""The parameters of a model that is not TeViT's, as fields of a form: what a page shows, and the check of its values.

The component's value is {"model", "fields", "values", "problem"}: the browser writes the values, by field, which Python
never trusts; its property `errors` has a sentence for each wrong one.
"""

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from tevit.inference.model_source import ModelParameter, find_source, model_parameters

from .models import Parameters, model_file

MAX_TEXT = 10_000  # characters of a value that a page remembers


def known_parameters(model: str) -> tuple[ModelParameter, ...]:
    """Those of a model, which may import its file. Raises: ValueError, OSError, one sentence, where it cannot."""
    file = model_file(model)
    return _parameters(model, file.stat().st_mtime_ns if file else 0)


@lru_cache(maxsize=64)
def _parameters(model: str, mtime_ns: int) -> tuple[ModelParameter, ...]:
    source = find_source(model)
    return tuple(model_parameters(source)) if source is not None else ()


def form(model: str | None, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The component's value. values: by field, as the browser wrote them; the others have their defaults."""
    try:
        parameters, problem = known_parameters(model or ""), ""
    except (ValueError, OSError) as error:
        parameters, problem = (), str(error)
    defaults = {parameter.name: _shown(parameter) for parameter in parameters}
    given = {name: value for name, value in (values or {}).items() if name in defaults}
    fields = [_field(parameter) for parameter in parameters]
    return {"model": model, "fields": fields, "values": defaults | given, "problem": problem}


def _field(parameter: ModelParameter) -> dict[str, Any]:
    kind = "choice" if parameter.choices else {bool: "flag", int: "whole", float: "number"}.get(parameter.kind, "text")
    if kind == "flag" and parameter.optional:
        kind = "choice"
    choices = [_text(choice) for choice in parameter.choices or ((False, True) if kind == "choice" else ())]
    expected = f"expected {parameter.expected}"
    return {
        "name": parameter.name,
        "kind": kind,
        "choices": [*([""] if parameter.optional else []), *choices] if kind == "choice" else [],
        "help": parameter.help,
        "placeholder": "none" if parameter.optional else "required" if parameter.required else "",
        "expected": expected,
    }


def _text(value: Any) -> str:
    return value.name if isinstance(value, Enum) else str(value)


def _shown(parameter: ModelParameter) -> Any:
    """The default as the browser shows it: a text, or bool for a check box."""
    if parameter.required:
        return (parameter.kind is bool and False) or ""
    if parameter.kind is bool and not parameter.optional:
        return parameter.default
    return "" if parameter.default is None else _text(parameter.default)


def given(model: str, value: Mapping[str, Any]) -> dict[str, str | bool]:
    """Of the component's value those of the model's fields, as the browser wrote them, each at most MAX_TEXT long.

    Raises: as `known_parameters`.
    """
    written = value.get("values")
    written = written if isinstance(written, Mapping) else {}
    kept: dict[str, str | bool] = {}
    for parameter in known_parameters(model):
        raw = written.get(parameter.name)
        if isinstance(raw, str | bool):
            kept[parameter.name] = raw[:MAX_TEXT] if isinstance(raw, str) else raw
    return kept


def read_form(model: str, value: Any) -> tuple[Parameters, dict[str, str]]:
    """The values that are not the defaults, and a sentence for each wrong one.

    value: of the component, as the browser sent it; that of another model counts as empty.
    Raises: as `known_parameters`.
    """
    given = value.get("values") if isinstance(value, Mapping) and value.get("model") == model else {}
    given = given if isinstance(given, Mapping) else {}
    values, errors = {}, {}
    for parameter in known_parameters(model):
        raw = given.get(parameter.name, _shown(parameter))
        try:
            parsed = parameter.parse(raw) if isinstance(raw, str) else parameter.check(raw)
            if parameter.required or parsed != parameter.default:
                values[parameter.name] = parsed
        except ValueError as error:
            errors[parameter.name] = str(error).removeprefix(f"{parameter.name}: ")
    return tuple(sorted(values.items())), errors


def errors_of(model: str, message: str) -> dict[str, str]:
    """The sentences of a failed run that are about a parameter: `…: name: sentence`."""
    try:
        names = [parameter.name for parameter in known_parameters(model)]
    except (ValueError, OSError):
        return {}
    matched = {name: re.search(rf"(?:^|: |parameter ){re.escape(name)}: (.*)", message) for name in names}
    return {name: match[1] for name, match in matched.items() if match}
