"""Weights on disk: the original implementation's files and our own, read safely and strictly, and written.

An original `.pth` holds `state_dict` beside the trainer's baggage; ours is a `.safetensors` whose header holds the
model's configuration, so that a file explains itself.
"""

import json
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tevit.checkpoint_keys import State, from_original, to_original
from tevit.configs import QUERYINST_PVT, TEVIT_MSGSHIFT, TEVIT_R50, TEVIT_SWIN_L_MST, BackboneConfig, ModelConfig
from tevit.io.files import atomic
from tevit.model.tevit import TeViT

HEADER = "tevit"  # the entry of a safetensors header that holds our configuration


@dataclass(frozen=True)
class InitReport:
    """What a starting point filled and what it did not: our keys."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.loaded)} of {len(self.loaded) + len(self.missing) + len(self.reshaped)} tensors loaded; "
            f"not in the file: {_listed(self.missing)}; of another shape: {_listed(self.reshaped)}"
        )


def load_model(path: str | os.PathLike, *, expected: ModelConfig | None = None, all_masks: bool = False) -> TeViT:
    """A model with the weights of `path`, in eval mode on the CPU.

    path: an original `.pth` (architecture inferred from its keys) or our `.safetensors` (architecture in the file).
    expected: a configuration that the file must have the architecture of. all_masks: keep the mask heads of all
    stages, which training needs and inference does not.
    Raises: FileNotFoundError; ValueError where the file is no checkpoint, tries to run code, is of another model or
    class count, or lacks or exceeds the model's keys.
    """
    config, state = read_checkpoint(path)
    if expected is not None:
        config = checked(path, config, expected)
    if config.name == QUERYINST_PVT.name:
        raise ValueError(f"{path}: this is the COCO QueryInst, a starting point for training, not a model of videos")
    model = empty_model(config, all_masks=all_masks)
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    if missing:
        raise ValueError(
            f"{path}: lacks {len(missing)} of {len(wanted)} tensors, first {missing[0]!r}; train on a full one"
        )
    model.load_state_dict({key: state[key] for key in wanted}, assign=True)
    return model.eval()


def read_checkpoint(path: str | os.PathLike) -> tuple[ModelConfig, State]:
    """Configuration and state dict (our keys) of either kind of file; every tensor checked against the architecture.

    Raises: as `load_model`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_original(path)


def empty_model(config: ModelConfig, *, all_masks: bool) -> TeViT:
    """A model whose parameters are not filled (they lie on the meta device): load a state dict with assign=True."""
    with torch.device("meta"):
        model = TeViT(config, all_masks=all_masks)
    return model.requires_grad_(False)


def save_model(path: str | os.PathLike, model: TeViT) -> None:
    """Write a model as `.safetensors` with its configuration in the header (all mask heads that it has)."""
    save_state(path, model.config, dict(model.state_dict()))


def save_state(path: str | os.PathLike, config: ModelConfig, state: State) -> None:
    """Write a state dict with our keys as `.safetensors`, the configuration in its header; atomic."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(asdict(config))})


def save_original(path: str | os.PathLike, config: ModelConfig, state: State) -> None:
    """Write a state dict with our keys in the original implementation's layout; atomic.

    Raises: ValueError where mask heads were dropped, which the original needs.
    """
    missing = sorted(empty_model(config, all_masks=True).state_dict().keys() - state.keys())
    if missing:
        raise ValueError(
            f"the original's layout needs all mask heads; {len(missing)} tensors were dropped, first {missing[0]!r}"
        )
    meta = {"CLASSES": tuple(name for _, name in config.categories)}
    with atomic(path) as temporary:
        torch.save({"meta": meta, "state_dict": to_original(state, config.backbone.kind)}, temporary)


def inference_state(state: State, stages: int) -> State:
    """The state dict without the mask heads that inference never uses: all but the last stage's."""
    unused = tuple(f"stages.{index}.mask." for index in range(stages - 1))
    return {key: value for key, value in state.items() if not key.startswith(unused)}


def load_initial(model: TeViT, path: str | os.PathLike) -> InitReport:
    """Fill a model from a starting point of another kind or class count: what fits by name and shape is loaded.

    Returns: what was and what was not filled; the latter keeps its initial values.
    Raises: as `load_model` for an unreadable file; ValueError where nothing fits.
    """
    _, given = read_checkpoint(path)
    wanted = model.state_dict()
    fitting = {key: given[key] for key in wanted if key in given and given[key].shape == wanted[key].shape}
    if not fitting:
        raise ValueError(f"{path}: none of its {len(given)} tensors fits {model.config.name}")
    model.load_state_dict(fitting, strict=False)
    missing = tuple(key for key in wanted if key not in given)
    reshaped = tuple(key for key in wanted if key in given and key not in fitting)
    return InitReport(tuple(fitting), missing, reshaped)


def _read_safetensors(path: Path) -> tuple[ModelConfig, State]:
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            # Copies: what lies in the file itself would be gone, and this process with it, when that is written over.
            state = {key: file.get_tensor(key).clone() for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    if header is None:
        raise ValueError(f"{path}: expected the model's configuration in its header under {HEADER!r}, found none")
    config = config_from_json(json.loads(header))
    shapes = empty_model(config, all_masks=True).state_dict()
    needed = inference_state(shapes, config.stages)
    for key in sorted(needed.keys() - state.keys()) + sorted(state.keys() - shapes.keys()):
        raise ValueError(f"{path}: {'lacks' if key in needed else 'has the unknown'} tensor {key!r} ({config.name})")
    for key, value in state.items():
        if value.shape != shapes[key].shape:
            raise ValueError(f"{path}: {key}: expected shape {tuple(shapes[key].shape)}, got {tuple(value.shape)}")
    return config, state


def _read_original(path: Path) -> tuple[ModelConfig, State]:
    content = _unpickled(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a checkpoint with a `state_dict` of tensors, found none")
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    meta = content.get("meta")
    config = infer_config(state, meta if isinstance(meta, Mapping) else {}, path)
    shapes = empty_model(config, all_masks=True).state_dict()
    try:
        return config, from_original(state, config.backbone.kind, shapes)
    except ValueError as error:
        raise ValueError(f"{path}: not a whole {config.name}: {error}") from error


def _unpickled(path: Path) -> Any:
    """The content of a `.pth`, read without running anything that it holds."""
    scalar = np.float32(0).__reduce__()[0]  # numpy 1 and 2 keep it in different places
    harmless: list[Any] = [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]
    harmless += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise ValueError(f"{path}: refused, because reading it would run code ({code[1]})") from error
        raise ValueError(f"{path}: not a PyTorch checkpoint") from error
    except (RuntimeError, EOFError, LookupError, ValueError) as error:
        raise ValueError(f"{path}: not a PyTorch checkpoint, or only a part of one") from error


def infer_config(state: Mapping[str, Tensor], meta: Mapping[str, Any], path: str | os.PathLike) -> ModelConfig:
    """The architecture of an original state dict, from its keys and shapes.

    meta: the file's `meta`; its `CLASSES` names the classes where they are not the 40 of YouTube-VIS 2019.
    Raises: ValueError where the keys are of no known model, or the class count is unexplained.
    """
    base = _base_config(state)
    logits = state.get("roi_head.bbox_head.0.fc_cls.weight")
    queries = state.get("rpn_head.init_proposal_bboxes.weight")
    if base is None or logits is None or queries is None:
        first = next(iter(state))
        raise ValueError(f"{path}: expected the keys of a TeViT or QueryInst checkpoint, found others, first {first!r}")
    return replace(base, queries=len(queries), categories=_categories(base, len(logits), meta, path))


def _base_config(state: Mapping[str, Tensor]) -> ModelConfig | None:
    if "backbone.msg_tokens" in state:
        return TEVIT_MSGSHIFT
    if "backbone.layers.0.0.projection.weight" in state:
        return QUERYINST_PVT
    if "backbone.conv1.weight" in state:
        return TEVIT_R50
    return TEVIT_SWIN_L_MST if "backbone.patch_embed.projection.weight" in state else None


def _categories(
    base: ModelConfig, count: int, meta: Mapping[str, Any], path: str | os.PathLike
) -> tuple[tuple[int, str], ...]:
    if count == base.num_classes:
        return base.categories
    names = meta.get("CLASSES")
    if isinstance(names, tuple | list) and len(names) == count:
        return tuple((index + 1, str(name)) for index, name in enumerate(names))
    raise ValueError(
        f"{path}: expected {base.num_classes} classes ({base.name}), got {count}, and the file does not name them"
    )


def checked(path: str | os.PathLike, config: ModelConfig, expected: ModelConfig) -> ModelConfig:
    """The file's configuration under the name and with the test scale of `expected`.

    Raises: ValueError where the architectures differ.
    """
    if config.backbone != expected.backbone:
        raise ValueError(f"{path}: expected {expected.name}, got the architecture of {config.name}")
    for what, got, wanted in (
        ("classes", config.num_classes, expected.num_classes),
        ("queries", config.queries, expected.queries),
        ("stages", config.stages, expected.stages),
    ):
        if got != wanted:
            raise ValueError(f"{path}: expected {wanted} {what} ({expected.name}), got {got}")
    return replace(config, name=expected.name, scale=expected.scale)


def config_from_json(content: Mapping[str, Any]) -> ModelConfig:
    """The inverse of `dataclasses.asdict` for a configuration that went through JSON.

    Raises: ValueError where a field is missing or unknown.
    """

    def tuples(value: Any) -> Any:
        return tuple(tuples(item) for item in value) if isinstance(value, list) else value

    try:
        backbone = BackboneConfig(**{key: tuples(value) for key, value in content["backbone"].items()})
        return ModelConfig(**{**{key: tuples(value) for key, value in content.items()}, "backbone": backbone})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a model configuration of this version: {error}") from error


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(keys) if keys else "none"
