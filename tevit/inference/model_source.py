"""Finding and loading models that have the interface of `tevit.inference.external`, and their parameters.

A model is named by a file (`my_model.py`, `my_model.py:create`), by the entry-point group `tevit.models` of an
installed package, by the environment variable TEVIT_MODELS (`name=package.module:create`, several separated by commas),
or it comes with this package.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tevit.configs import BUNDLED_MODELS, MODELS
from tevit.inference.external import ExternalPredictor, failure

GROUP = "tevit.models"
VARIABLE = "TEVIT_MODELS"
BUILT_IN: Mapping[str, str] = {
    "motion": "tevit.inference.motion:create",
    "videomt": "tevit.inference.huggingface:videomt",
    "detector": "tevit.inference.huggingface:detector",
}
"""Models of this package: name -> `package.module:create`."""
FROM_HUB = frozenset({"videomt", "detector"})
"""Those of them whose weights are downloaded from the Hugging Face hub at the first use."""
MOTION_LIMITS = (
    "motion needs no weights. It finds what moves otherwise than the background, all as one class “moving object”: "
    "nothing that stands still or fills most of the picture; what moves together is one track"
)

_REQUIRED = object()


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from. name: as in `--model`. target: `file.py`, `file.py:create` or `package.module:create`.
    origin: what named it, in words."""

    name: str
    target: str
    origin: str

    @property
    def file(self) -> Path | None:
        """The file that holds it; None where a module is named."""
        path = self.target.rpartition(":")[0] if _split_file(self.target)[1] else self.target
        return Path(path) if _is_file(self.target) else None


@dataclass(frozen=True)
class ModelParameter:
    """A parameter of a model. kind: type of its values. choices: all allowed values, empty where any. optional: whether
    None is one. default: `required` is set where there is none."""

    name: str
    kind: type
    default: Any
    choices: tuple[Any, ...] = ()
    optional: bool = False
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is _REQUIRED

    def parse(self, text: str) -> Any:
        """The value that a text describes. Raises: ValueError that names the expected type."""
        if self.optional and text.strip().lower() in ("", "none"):
            return None
        return self.check(_parsed(self, text))

    def check(self, value: Any) -> Any:
        """The value as this parameter's type. Raises: ValueError for another type or choice."""
        if value is None and self.optional:
            return None
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not self.kind or (self.choices and value not in self.choices):
            raise ValueError(f"{self.name}: expected {self.expected}, got {value!r}")
        return value

    @property
    def expected(self) -> str:
        """What a value may be, in words."""
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        names = [choice.name if isinstance(choice, Enum) else str(choice) for choice in self.choices]
        text = f"one of {', '.join(names)}" if names else words[self.kind]
        return f"{text} or none" if self.optional else text


_BOOLEANS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


def _parsed(parameter: ModelParameter, text: str) -> Any:
    try:
        if issubclass(parameter.kind, Enum):
            return parameter.kind[text.strip()]
        return _BOOLEANS[text.strip().lower()] if parameter.kind is bool else parameter.kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"{parameter.name}: expected {parameter.expected}, got {text!r}") from None


# --- finding


def _split_file(text: str) -> tuple[str, str]:
    """`dir/my_model.py:create` -> its path and `create`; "" where no attribute is named."""
    path, colon, attribute = text.rpartition(":")
    return (path, attribute) if colon and path.endswith(".py") else (text, "")


def _is_file(text: str) -> bool:
    return _split_file(text)[0].endswith(".py")


def named_models() -> dict[str, ModelSource]:
    """All models that can be named without a file: name -> source.

    Raises: ValueError where TEVIT_MODELS cannot be read.
    """
    sources = {name: ModelSource(name, target, "comes with tevit") for name, target in BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else "an installed package"
        sources[point.name] = ModelSource(point.name, point.value, f"from {package}")
    for item in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        name, equals, target = item.partition("=")
        if not (equals and name and target):
            raise ValueError(f"{VARIABLE}: expected name=package.module:create, got {item!r}")
        sources[name] = ModelSource(name, target, f"from {VARIABLE}")
    return sources


def find_source(name: str) -> ModelSource | None:
    """The model of that name or file; None for a model of TeViT's and for an unknown name."""
    if _is_file(name):
        return ModelSource(name, name, "a file")
    if name in MODELS or name in BUNDLED_MODELS:
        return None
    return named_models().get(name)


def check_name(name: str) -> None:
    """Raises: ValueError that suggests the nearest name, where no model has this one."""
    if find_source(name) is None and name not in MODELS and name not in BUNDLED_MODELS:
        names = [*MODELS, *BUNDLED_MODELS, *named_models()]
        near = get_close_matches(name, names, n=1, cutoff=0)
        known = f"The models are {', '.join(names)}, and any file.py:create"
        raise ValueError(f"unknown model {name!r}; did you mean {near[0]!r}? {known}")


# --- loading


def load_external(
    source: ModelSource | str, parameters: Mapping[str, Any] | None = None, *, device: str = "auto"
) -> ExternalPredictor:
    """A predictor that runs the model. parameters: by name; the others keep their defaults.

    device: passed to `create` where it has a parameter of that name, as PyTorch's name with "auto" resolved.
    Raises: ValueError, OSError: one sentence on what is wrong with the file, the name or a parameter.
    """
    resolved = find_source(source) if isinstance(source, str) else source
    if resolved is None:
        raise ValueError(f"unknown model {source!r}: expected a file.py:create, or one of {', '.join(named_models())}")
    target = _target(resolved)
    values = _checked(resolved.name, model_parameters(resolved, target), parameters or {})
    plain = {name: value.name if isinstance(value, Enum) else value for name, value in values.items()}
    about = {"weights": _identity(resolved)} | ({"parameters": plain} if plain else {})
    if _is_model(target):
        if device != "auto":
            raise ValueError(f"{resolved.name}: it takes no device; leave out --device {device}")
        return ExternalPredictor(target, _short(resolved), about)
    if _takes(target, "device"):
        values["device"] = _device_name(device)
    elif device != "auto":
        raise ValueError(f"{resolved.name}: its create takes no device; leave out --device {device}")
    try:
        model = target(**values)
    except Exception as error:
        raise failure(resolved.name, error) from error
    return ExternalPredictor(model, _short(resolved), about)


def _short(source: ModelSource) -> str:
    return source.file.stem if source.file else source.name


def _identity(source: ModelSource) -> str:
    from tevit.inference.dataset import file_digest

    return f"{source.file.name} {file_digest(source.file)}" if source.file else f"{source.name} ({source.target})"


def _is_model(target: Any) -> bool:
    return callable(getattr(target, "predict", None)) and not isinstance(target, type)


def _target(source: ModelSource) -> Any:
    """The function that creates the model, or the model itself. Raises: ValueError, FileNotFoundError."""
    path, attribute = _split_file(source.target)
    if not _is_file(source.target):
        path, _, attribute = source.target.partition(":")
    module = _import_file(Path(path)) if _is_file(source.target) else _import_module(source, path)
    if not attribute:
        attribute = "create" if hasattr(module, "create") else ""
        if not attribute and not _is_model(module):
            raise ValueError(f"{source.name}: expected a function create or predict in it, found neither")
    target: Any = module
    for part in filter(None, attribute.split(".")):
        if not hasattr(target, part):
            raise ValueError(f"{source.name}: there is no {attribute} in {path}")
        target = getattr(target, part)
    if not callable(target) and not _is_model(target):
        raise ValueError(f"{source.name}: expected a function or an object with predict, got {type(target).__name__}")
    return target


def _import_file(path: Path) -> types.ModuleType:
    """The module of a file, executed anew; its folder is appended to the module search path."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last: a model's neighbours must not hide installed packages
    name = f"tevit_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise failure(path.name, error) from error
    return module


def _import_module(source: ModelSource, name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise failure(source.name, error) from error


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _device_name(device: str) -> str:
    from tevit.inference.predictor import resolve_device

    return str(resolve_device(device))


# --- parameters


def model_parameters(source: ModelSource, target: Any = None) -> list[ModelParameter]:
    """The parameters of a model: the fields of the dataclass `parameters`, an attribute of `create` or of its module;
    without one the parameters of `create` itself.

    target: the imported function or model, where known.
    Raises: ValueError for a field of a type that is not known.
    """
    target = _target(source) if target is None else target
    if _is_model(target):
        return []
    module = sys.modules.get(getattr(target, "__module__", ""), None)
    form = getattr(target, "parameters", None) or getattr(module, "parameters", None)
    if form is not None:
        form = form if isinstance(form, type) else type(form)
        if not is_dataclass(form):
            raise ValueError(f"{source.name}: parameters: expected a dataclass, got {form.__name__}")
        hints = get_type_hints(form)
        return [_parameter(source.name, item.name, hints[item.name], _default(item), item.metadata.get("help", ""))
                for item in fields(form) if item.init]  # fmt: skip
    hints = get_type_hints(target.__init__ if isinstance(target, type) else target)
    signature = inspect.signature(target).parameters.values()
    named = [item for item in signature if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
    return [
        _parameter(source.name, item.name, hints.get(item.name, type(item.default)), item.default)
        for item in named
        if item.name != "device"
    ]


def _default(item: dataclasses.Field) -> Any:
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else _REQUIRED


def _parameter(model: str, name: str, hint: Any, default: Any, help: str = "") -> ModelParameter:
    default = _REQUIRED if default is inspect.Parameter.empty else default
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        optional = len(kinds) < len(get_args(hint))
        hint = kinds[0] if len(kinds) == 1 else hint
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ModelParameter(name, hint, default, tuple(hint), optional, help)
    kind = type(choices[0]) if choices else hint
    if kind not in (int, float, bool, str) or any(type(choice) is not kind for choice in choices):
        expected = "int, float, bool, str, an Enum or a Literal"
        raise ValueError(f"{model}: parameter {name}: expected {expected}, got {hint}")
    return ModelParameter(name, kind, default, choices, optional, help)


def parse_parameters(texts: Sequence[str]) -> dict[str, str]:
    """`name=value` texts, as of `-p`, by name. Raises: ValueError for a text of another form."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not (name and equals):
            raise ValueError(f"-p: expected name=value, got {text!r}")
    return {name.strip(): value for name, _, value in pairs}


def _checked(model: str, parameters: Sequence[ModelParameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """All values by name. given: texts are parsed. Raises: ValueError for an unknown name, a wrong or missing value."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            names = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{model}: unknown parameter {name!r}; {names}")
    values = {}
    for parameter in parameters:
        value = given.get(parameter.name, parameter.default)
        if value is _REQUIRED:
            raise ValueError(f"{model}: parameter {parameter.name} needs a value, {parameter.expected}")
        try:
            values[parameter.name] = parameter.parse(value) if isinstance(value, str) else parameter.check(value)
        except ValueError as error:
            raise ValueError(f"{model}: parameter {error}") from None
    return values
