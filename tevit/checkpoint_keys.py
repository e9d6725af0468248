"""Conversion between the original implementation's state dict and ours.

`from_original` and `to_original` are pure and inverse to each other. Source: hustvl/TeViT (mmdetection 2.21), the
keys of its released checkpoints.
"""

import re

import torch
from torch import Tensor

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
    return value.contiguous()


def _to_layout(key: str, value: Tensor) -> Tensor:
    """Our tensor in the layout of the original. key: ours."""
    if _is_patch_merging(key):
        return value.unflatten(-1, (2, 2, -1)).transpose(-3, -1).flatten(-3)
    if re.fullmatch(r"backbone\.stages\.\d\.blocks\..*\.mlp\.fc[12]\.weight", key):
        return value[:, :, None, None]
    return value
