"""Reading and writing of checkpoints: the original implementation's and our own; strict, and without running code.

An original `.pth` contains `state_dict` and data of its trainer; ours is a `.safetensors` with the model's
configuration in its header. `from_original` and `to_original` convert the keys; they are pure and inverse to each
other. Source: hustvl/TeViT (mmdetection 2.21), the keys of its released checkpoints.
"""

import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tevit.configs import (
    QUERYINST_PVT,
    TEVIT_MSGSHIFT,
    TEVIT_R50,
    TEVIT_SWIN_L_MST,
    BackboneConfig,
    ModelConfig,
    fold_name,
)
from tevit.io import json as jsonfile
from tevit.io.files import atomic
from tevit.model.tevit import TeViT

State = dict[str, Tensor]

# (our key, the original's), as regular expressions of the whole key; the first match counts.
HEAD_NAMES: tuple[tuple[str, str], ...] = (
    (r"query_boxes", r"rpn_head.init_proposal_bboxes.weight"),
    (r"query_features", r"rpn_head.init_proposal_features.weight"),
    (r"fpn\.lateral\.(.)\.(.*)", r"neck.lateral_convs.\1.conv.\2"),
    (r"fpn\.output\.(.)\.(.*)", r"neck.fpn_convs.\1.conv.\2"),
    (
        r"stages\.(.)\.mask\.dynamic\.generator\.(.*)",
        r"roi_head.mask_head.\1.instance_interactive_conv.dynamic_layer.\2",
    ),
    (r"stages\.(.)\.mask\.dynamic\.(.*)", r"roi_head.mask_head.\1.instance_interactive_conv.\2"),
    (r"stages\.(.)\.mask\.logits\.(.*)", r"roi_head.mask_head.\1.conv_logits.\2"),
    (r"stages\.(.)\.mask\.(.*)", r"roi_head.mask_head.\1.\2"),
    (r"stages\.(.)\.attention\.(.*)", r"roi_head.bbox_head.\1.attention.attn.\2"),
    (r"stages\.(.)\.dynamic\.generator\.(.*)", r"roi_head.bbox_head.\1.instance_interactive_conv.dynamic_layer.\2"),
    (r"stages\.(.)\.dynamic\.(.*)", r"roi_head.bbox_head.\1.instance_interactive_conv.\2"),
    (r"stages\.(.)\.dynamic_out\.(.*)", r"roi_head.bbox_head.\1.instance_interactive_conv.fc_layer.\2"),
    (r"stages\.(.)\.dynamic_out_norm\.(.*)", r"roi_head.bbox_head.\1.instance_interactive_conv.fc_norm.\2"),
    (r"stages\.(.)\.dynamic_norm\.(.*)", r"roi_head.bbox_head.\1.instance_interactive_conv_norm.\2"),
    (r"stages\.(.)\.ffn\.0\.(.*)", r"roi_head.bbox_head.\1.ffn.layers.0.0.\2"),
    (r"stages\.(.)\.ffn\.2\.(.*)", r"roi_head.bbox_head.\1.ffn.layers.1.\2"),
    (r"stages\.(.)\.class_tower\.(.*)", r"roi_head.bbox_head.\1.cls_fcs.\2"),
    (r"stages\.(.)\.class_logits\.(.*)", r"roi_head.bbox_head.\1.fc_cls.\2"),
    (r"stages\.(.)\.box_tower\.(.*)", r"roi_head.bbox_head.\1.reg_fcs.\2"),
    (r"stages\.(.)\.box_deltas\.(.*)", r"roi_head.bbox_head.\1.fc_reg.\2"),
    (r"stages\.(.)\.(attention_norm|ffn_norm)\.(.*)", r"roi_head.bbox_head.\1.\2.\3"),
)
PVT_NAMES: tuple[tuple[str, str], ...] = (
    (r"messengers", r"msg_tokens"),
    (r"patch_embed\.proj\.(.*)", r"layers.0.0.projection.\1"),
    (r"patch_embed\.norm\.(.*)", r"layers.0.0.norm.\1"),
    (r"stages\.(.)\.downsample\.proj\.(.*)", r"layers.\1.0.projection.\2"),
    (r"stages\.(.)\.downsample\.norm\.(.*)", r"layers.\1.0.norm.\2"),
    (r"stages\.(.)\.blocks\.(.+?)\.attn\.(q|kv)\.(.*)", r"layers.\1.1.\2.attn.attn.\3.\4"),
    (r"stages\.(.)\.blocks\.(.+?)\.attn\.proj\.(.*)", r"layers.\1.1.\2.attn.attn.out_proj.\3"),
    (r"stages\.(.)\.blocks\.(.+?)\.mlp\.fc1\.(.*)", r"layers.\1.1.\2.ffn.layers.0.\3"),
    (r"stages\.(.)\.blocks\.(.+?)\.mlp\.dwconv\.(.*)", r"layers.\1.1.\2.ffn.layers.1.\3"),
    (r"stages\.(.)\.blocks\.(.+?)\.mlp\.fc2\.(.*)", r"layers.\1.1.\2.ffn.layers.4.\3"),
    (r"stages\.(.)\.blocks\.(.*)", r"layers.\1.1.\2"),
    (r"stages\.(.)\.norm\.(.*)", r"layers.\1.2.\2"),
)
SWIN_NAMES: tuple[tuple[str, str], ...] = (
    (r"patch_embed\.proj\.(.*)", r"patch_embed.projection.\1"),
    (r"patch_embed\.norm\.(.*)", r"patch_embed.norm.\1"),
    (r"layers\.1\.downsample\.(.*)", r"stages.0.downsample.\1"),
    (r"layers\.2\.downsample\.(.*)", r"stages.1.downsample.\1"),
    (r"layers\.3\.downsample\.(.*)", r"stages.2.downsample.\1"),
    (r"layers\.(.)\.blocks\.(.+?)\.attn\.(.*)", r"stages.\1.blocks.\2.attn.w_msa.\3"),
    (r"layers\.(.)\.blocks\.(.+?)\.mlp\.fc1\.(.*)", r"stages.\1.blocks.\2.ffn.layers.0.0.\3"),
    (r"layers\.(.)\.blocks\.(.+?)\.mlp\.fc2\.(.*)", r"stages.\1.blocks.\2.ffn.layers.1.\3"),
    (r"layers\.(.)\.(.*)", r"stages.\1.\2"),
    (r"norms\.(.)\.(.*)", r"norm\1.\2"),
)
BACKBONE_NAMES = {"pvt_v2": PVT_NAMES, "swin": SWIN_NAMES, "resnet50": ((r"(.*)", r"\1"),)}

# Keys of the original that follow from the architecture.
DERIVED = re.compile(r"relative_position_index$")
# Keys that a checkpoint may lack: they count training steps.
COUNTER = "num_batches_tracked"


def original_name(key: str, backbone_kind: str) -> str:
    """The original's name of one of our keys."""
    names, prefix = HEAD_NAMES, ""
    if key.startswith("backbone."):
        names, prefix, key = BACKBONE_NAMES[backbone_kind], "backbone.", key.removeprefix("backbone.")
    for ours, theirs in names:
        match = re.fullmatch(ours, key)
        if match:
            return prefix + match.expand(theirs)
    raise AssertionError(f"no original name for {key}")


def from_original(state: State, backbone_kind: str, ours: State) -> State:
    """Our state dict from the original's; every key must be used and every shape equal.

    state: the original's. ours: our model's, for names and shapes (may be on the meta device).
    Raises: ValueError naming the keys that are missing or left over, or the first whose shape differs.
    """
    left = _split_attention({key: value for key, value in state.items() if not DERIVED.search(key)}, backbone_kind)
    names = {key: original_name(key, backbone_kind) for key in ours}
    for name in names.values():
        if name.endswith(COUNTER):
            left.setdefault(name, torch.zeros((), dtype=torch.long))
    missing, unknown = sorted(set(names.values()) - left.keys()), sorted(left.keys() - set(names.values()))
    if missing or unknown:
        faults = [
            f"{len(keys)} keys {fault}, first {keys[0]!r}"
            for keys, fault in ((missing, "are missing"), (unknown, "are left over"))
            if keys
        ]
        raise ValueError(f"expected {len(set(names.values()))} keys, got {len(left)}: " + "; ".join(faults))
    return {key: _from_layout(key, left[name], ours[key]) for key, name in names.items()}


def fitting_original(state: State, backbone_kind: str, ours: State) -> State:
    """Those tensors of an original state dict that have a name in our model; see `from_original`."""
    left = _split_attention(dict(state), backbone_kind)
    for name in [name for name in left if name.endswith("running_mean")]:
        left.setdefault(name.replace("running_mean", COUNTER), torch.zeros((), dtype=torch.long))
    names = {key: original_name(key, backbone_kind) for key in ours}
    return {key: _from_layout(key, left[name], ours[key]) for key, name in names.items() if name in left}


def from_microsoft(state: State) -> State:
    """A state dict with the original's names for Swin's, which hustvl/QueryInst has from Microsoft's code.

    Source: microsoft/Swin-Transformer; its order of the inputs of a patch merging is timm's, as ours.
    """
    out: State = {}
    for key, value in state.items():
        if re.match(r"backbone\.(patch_embed|layers|norm\d)\.", key) and not DERIVED.search(key):
            ours = re.sub(r"(\d)\.downsample", lambda match: f"{int(match[1]) + 1}.downsample", key)
            ours = re.sub(r"^backbone\.norm(\d)", r"backbone.norms.\1", ours)
            key, value = original_name(ours, "swin"), _to_layout(ours, value)
        out[key] = value
    return out


def to_original(state: State, backbone_kind: str) -> State:
    """The original's state dict from ours, without the keys that follow from the architecture."""
    named = {original_name(key, backbone_kind): _to_layout(key, value) for key, value in state.items()}
    out: State = {}
    for key, value in named.items():
        match = re.fullmatch(r"(backbone\..*\.attn)\.(q|kv)\.(weight|bias)", key)
        if match is None:
            out[key] = value
        elif match[2] == "q":  # PVT's joint projection of queries, keys and values
            out[f"{match[1]}.in_proj_{match[3]}"] = torch.cat([value, named[f"{match[1]}.kv.{match[3]}"]])
    return out


def _split_attention(state: State, backbone_kind: str) -> State:
    """Split PVT's joint `in_proj` of queries, keys and values into `q` and `kv`."""
    if backbone_kind != "pvt_v2":
        return dict(state)
    out: State = {}
    for key, value in state.items():
        match = re.fullmatch(r"(backbone\..*)\.in_proj_(weight|bias)", key)
        if match and len(value) % 3 == 0:
            prefix, kind = match.groups()
            out[f"{prefix}.q.{kind}"], out[f"{prefix}.kv.{kind}"] = value.split((len(value) // 3, len(value) // 3 * 2))
        else:
            out[key] = value
    return out


def _is_patch_merging(key: str) -> bool:
    return re.fullmatch(r"backbone\.layers\.\d\.downsample\.(norm|reduction)\..*", key) is not None


def _from_layout(key: str, value: Tensor, like: Tensor) -> Tensor:
    """A tensor of the original in our layout. key: ours. like: our tensor, for its shape. Raises: ValueError."""
    if _is_patch_merging(key):  # the order of the 4C inputs is (C, dy, dx), timm's (dx, dy, C)
        value = value.unflatten(-1, (-1, 2, 2)).transpose(-3, -1).flatten(-3)
    if value.dim() == 4 and like.dim() == 2 and value.shape[2:] == (1, 1):  # a 1x1 convolution as a linear layer
        value = value.flatten(1)
    if value.shape != like.shape:
        raise ValueError(f"{key}: expected shape {tuple(like.shape)}, got {tuple(value.shape)}")
    return value.to(like.dtype).contiguous()


def _to_layout(key: str, value: Tensor) -> Tensor:
    """Our tensor in the layout of the original. key: ours."""
    if _is_patch_merging(key):
        return value.unflatten(-1, (2, 2, -1)).transpose(-3, -1).flatten(-3)
    if re.fullmatch(r"backbone\.stages\.\d\.blocks\..*\.mlp\.fc[12]\.weight", key):
        return value[:, :, None, None]
    return value


# --- files


_MAX_BLOCKS = 100  # of a backbone's level, and stages: each is a module that is made
_MAX_CHANNELS = 1 << 16
HEADER = "tevit"  # key of the configuration in a safetensors header
CLASS_ROWS = r"\.(class_logits|mask\.logits)\.(weight|bias)$"
"""Keys of tensors with one row per class."""


# (name in reports, our keys). The first match counts.
GROUPS: tuple[tuple[str, str], ...] = (
    ("backbone", r"backbone\.(?!messengers$)"),
    ("messengers", r"backbone\.messengers$"),
    ("FPN", r"fpn\."),
    ("queries", r"query_"),
    ("class logits", r"stages\.(\d+)\.(class_logits|mask\.logits)\."),
    ("mask heads", r"stages\.(\d+)\.mask\."),
    ("query heads", r"stages\.(\d+)\."),
)


@dataclass(frozen=True)
class InitReport:
    """Our keys that a starting point filled, that it lacks, and that have another shape in it.

    classes: how the rows of the class heads were matched, where the classes differ; else empty.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]
    classes: str = ""

    @property
    def total(self) -> int:
        """The number of the model's tensors."""
        return len(self.loaded) + len(self.missing) + len(self.reshaped)

    def __str__(self) -> str:
        """For example "615 of 639 tensors: backbone 176 of 176, …; start afresh: class logits of stages 0-5"."""
        filled, afresh = [], []
        loaded, grouped = _grouped(self.loaded), _grouped(self.loaded + self.missing + self.reshaped)
        rest = _grouped(self.missing + self.reshaped)
        for name in (name for name, _ in GROUPS if name in grouped):
            if name in loaded:
                filled.append(f"{name} {len(loaded[name])} of {len(grouped[name])}")
            if name in rest:
                why = "" if set(rest[name]) & set(self.missing) else " (of another shape)"
                afresh.append(f"{name}{_stages(rest[name])}{why}")
        parts = (", ".join(filled), f"start afresh: {', '.join(afresh)}" if afresh else "", self.classes)
        return f"{len(self.loaded)} of {self.total} tensors: {'; '.join(filter(None, parts))}"


def _grouped(keys: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key in keys:
        name = next(name for name, pattern in GROUPS if re.match(pattern, key))
        groups.setdefault(name, []).append(key)
    return groups


def _stages(keys: Iterable[str]) -> str:
    """ " of stage 3", " of stages 0-5" or " of stages 0, 2"; empty for keys outside the stages."""
    stages = sorted({int(match[1]) for match in map(re.compile(r"stages\.(\d+)\.").match, keys) if match})
    if len(stages) < 2:
        return f" of stage {stages[0]}" if stages else ""
    whole = stages[-1] - stages[0] == len(stages) - 1
    return f" of stages {stages[0]}-{stages[-1]}" if whole else f" of stages {', '.join(map(str, stages))}"


def load_model(path: str | os.PathLike, *, expected: ModelConfig | None = None, all_masks: bool = False) -> TeViT:
    """A model with the weights of a checkpoint, in eval mode on the CPU.

    path: an original `.pth` (architecture inferred from its keys) or our `.safetensors` (architecture in its header).
    expected: configuration whose architecture the file must have. all_masks: keep the mask heads of all stages, which
    training needs and inference does not.
    Raises: FileNotFoundError; ValueError where the file is not a checkpoint, would run code, is of another model or
    class count, or has missing or unknown keys.
    """
    config, state = read_checkpoint(path)
    if expected is not None:
        config = match_expected(path, config, expected)
    if config.name == QUERYINST_PVT.name:
        raise ValueError(f"{path}: this is the COCO QueryInst, a starting point for training, not a model of videos")
    model = empty_model(config, all_masks=all_masks)
    keys = model.state_dict().keys()
    missing = sorted(keys - state.keys())
    if missing:
        raise ValueError(
            f"{path}: lacks {len(missing)} of {len(keys)} tensors, first {missing[0]!r}; train on a full one"
        )
    model.load_state_dict({key: state[key] for key in keys}, assign=True)
    return model.eval()


def read_checkpoint(path: str | os.PathLike, *, whole: bool = True) -> tuple[ModelConfig, State]:
    """Configuration and state dict (our keys) of either kind of file; every tensor's shape is checked, and values in
    half precision become float32.

    whole: False reads from an original file what has a name in our model, as the original's training does.
    Raises: as `load_model`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_original(path, whole)


def empty_model(config: ModelConfig, *, all_masks: bool) -> TeViT:
    """A model with parameters on the meta device; load a state dict into it with assign=True."""
    with torch.device("meta"):
        model = TeViT(config, all_masks=all_masks)
    return model.requires_grad_(False)


def save_model(path: str | os.PathLike, model: TeViT) -> None:
    """Write a model as `.safetensors` with its configuration in the header and all mask heads that it has."""
    save_state(path, model.config, dict(model.state_dict()))


def save_state(path: str | os.PathLike, config: ModelConfig, state: State) -> None:
    """Write a state dict with our keys as `.safetensors`, the configuration in its header; atomic."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(asdict(config))})


def save_original(path: str | os.PathLike, config: ModelConfig, state: State) -> None:
    """Write a state dict with our keys in the original implementation's layout; atomic.

    Raises: ValueError where mask heads are missing, which the original needs.
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
    """The state dict without the mask heads that inference does not use: all but the last stage's."""
    unused = tuple(f"stages.{index}.mask." for index in range(stages - 1))
    return {key: value for key, value in state.items() if not key.startswith(unused)}


def load_initial(model: TeViT, path: str | os.PathLike) -> InitReport:
    """Initialise a model from a checkpoint of another kind or other classes: tensors of the same name and shape.

    Rows of class heads for as many classes are matched by the names of the classes; those of other names keep their
    initial values.

    Returns: the keys that were and were not loaded; the latter keep their initial values.
    Raises: as `load_model` for an unreadable file; ValueError where nothing fits.
    """
    config, state = read_checkpoint(path, whole=False)
    own = model.state_dict()
    state, classes = _match_class_rows(config, state, model.config, own)
    fitting = {key: state[key] for key in own if key in state and state[key].shape == own[key].shape}
    if not fitting:
        raise ValueError(f"{path}: none of its {len(state)} tensors fits {model.config.name}")
    model.load_state_dict(fitting, strict=False)
    missing = tuple(key for key in own if key not in state)
    reshaped = tuple(key for key in own if key in state and key not in fitting)
    return InitReport(tuple(fitting), missing, reshaped, classes)


def _match_class_rows(config: ModelConfig, state: State, own_config: ModelConfig, own: State) -> tuple[State, str]:
    """`state` with the class heads' rows in the order of `own_config`'s classes, and a sentence where that matters."""
    theirs = [fold_name(name) for _, name in config.categories]
    ours = [fold_name(name) for _, name in own_config.categories]
    rows = [(row, theirs.index(name)) for row, name in enumerate(ours) if name in theirs]
    # Heads of another number of classes are new ones, as in the original.
    if ours == theirs or len(ours) != len(theirs):
        return state, ""
    if not rows:
        return state, "no class has a name in both: the class heads are taken over by position"
    state = dict(state)
    for key, value in own.items():
        if re.search(CLASS_ROWS, key) and key in state and state[key].shape[1:] == value.shape[1:]:
            matched = value.clone()
            for row, source in rows:
                matched[row] = state[key][source]
            state[key] = matched
    return state, f"{len(rows)} of {len(ours)} classes matched by name"


def _first_line(error: Exception) -> str:
    """Of its text, at most 200 characters; its class where it has none, as a plain assertion."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _read_safetensors(path: Path) -> tuple[ModelConfig, State]:
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            # Copies, because memory-mapped tensors crash the process when the file is overwritten.
            state = {key: file.get_tensor(key).clone() for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    if header is None:
        raise ValueError(f"{path}: expected the model's configuration in its header under {HEADER!r}, found none")
    try:
        config = config_from_json(json.loads(header))
        shapes = empty_model(config, all_masks=True).state_dict()
    except (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, RuntimeError) as error:
        # What modules raise whose numbers do not fit together, on one line.
        raise ValueError(f"{path}: its configuration is of no model: {_first_line(error)}") from error
    required = inference_state(shapes, config.stages)
    for key in sorted(required.keys() - state.keys()) + sorted(state.keys() - shapes.keys()):
        raise ValueError(f"{path}: {'lacks' if key in required else 'has the unknown'} tensor {key!r} ({config.name})")
    for key, value in state.items():
        if value.shape != shapes[key].shape:
            raise ValueError(f"{path}: {key}: expected shape {tuple(shapes[key].shape)}, got {tuple(value.shape)}")
    return config, {key: value.to(shapes[key].dtype) for key, value in state.items()}


def _read_original(path: Path, whole: bool) -> tuple[ModelConfig, State]:
    content = _unpickle(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a checkpoint with a `state_dict` of tensors, found none")
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    if "backbone.patch_embed.proj.weight" in state:
        state = from_microsoft(state)
    meta = content.get("meta")
    config = infer_config(state, meta if isinstance(meta, Mapping) else {}, path)
    shapes = empty_model(config, all_masks=True).state_dict()
    try:
        read = from_original if whole else fitting_original
        return config, read(state, config.backbone.kind, shapes)
    except ValueError as error:
        raise ValueError(f"{path}: not a whole {config.name}: {error}") from error


def _unpickle(path: Path) -> Any:
    """The content of a `.pth`, read without running code. Raises: ValueError."""
    scalar = np.float32(0).__reduce__()[0]  # its module differs between numpy 1 and 2
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

    meta: the file's `meta`; its `CLASSES` names the classes where their number is not the published model's.
    Raises: ValueError where the keys are of no known model, or the classes are not named.
    """
    markers = {
        "backbone.msg_tokens": TEVIT_MSGSHIFT,
        "backbone.layers.0.0.projection.weight": QUERYINST_PVT,
        "backbone.conv1.weight": TEVIT_R50,
        "backbone.patch_embed.projection.weight": TEVIT_SWIN_L_MST,
    }
    base = next((config for key, config in markers.items() if key in state), None)
    logits = state.get("roi_head.bbox_head.0.fc_cls.weight")
    queries = state.get("rpn_head.init_proposal_bboxes.weight")
    if base is None or logits is None or queries is None:
        first = next(iter(state))
        raise ValueError(f"{path}: expected the keys of a TeViT or QueryInst checkpoint, found others, first {first!r}")
    base, count, names = replace(base, queries=len(queries)), len(logits), meta.get("CLASSES")
    if count == base.num_classes:
        return base
    if isinstance(names, tuple | list) and len(names) == count:
        return replace(base, categories=tuple((index, str(name)) for index, name in enumerate(names, 1)))
    raise ValueError(
        f"{path}: expected {base.num_classes} classes ({base.name}), got {count}, and the file does not name them"
    )


def match_expected(path: str | os.PathLike, config: ModelConfig, expected: ModelConfig) -> ModelConfig:
    """The file's configuration with the name and the test scale of `expected`.

    Raises: ValueError where the architectures differ.
    """
    if config.backbone != expected.backbone:
        raise ValueError(f"{path}: expected {expected.name}, got the architecture of {config.name}")
    for name, value, expected_value in (
        ("classes", config.num_classes, expected.num_classes),
        ("queries", config.queries, expected.queries),
        ("stages", config.stages, expected.stages),
    ):
        if value != expected_value:
            raise ValueError(f"{path}: expected {expected_value} {name} ({expected.name}), got {value}")
    return replace(config, name=expected.name, scale=expected.scale)


def config_from_json(content: Mapping[str, Any]) -> ModelConfig:
    """The configuration of `dataclasses.asdict` after conversion to JSON and back.

    Raises: ValueError where a field is missing or unknown.
    """
    config = jsonfile.convert(content, ModelConfig, "not a model configuration of this version")
    for part, kind in ((content, ModelConfig), (content["backbone"], BackboneConfig)):
        if unknown := sorted(part.keys() - {field.name for field in fields(kind)}):
            raise ValueError(f"not a model configuration of this version: it has the unknown {unknown[0]!r}")
    backbone = config.backbone
    numbers = {
        "queries": config.queries,
        "stages": config.stages,
        "channels": config.channels,
        "heads": config.heads,
        "ffn_channels": config.ffn_channels,
        "dynamic_channels": config.dynamic_channels,
        "the backbone's dims": max(backbone.dims),
        "the backbone's depths": max(backbone.depths),
        "the backbone's messengers": backbone.messengers,
        "the sides of scale": max(config.scale),
    }
    for name, number in numbers.items():
        largest = _MAX_BLOCKS if name in ("stages", "the backbone's depths") else _MAX_CHANNELS
        if not 0 <= number <= largest:
            raise ValueError(f"not a configuration of a model: expected {name} up to {largest}, got {number}")
    return config
