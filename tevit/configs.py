"""Configurations of the published models, options of prediction, categories of the public data sets; no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack

RELEASE = "https://github.com/hustvl/Storage/releases/download/v1.1.0/"

_YTVIS_2019 = """person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat cow fish
train horse turtle bear motorbike giraffe leopard fox deer owl surfboard airplane truck zebra tiger elephant snowboard
boat shark mouse frog eagle earless_seal tennis_racket"""

_YTVIS_2021 = """airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc fox frog
giant_panda giraffe horse leopard lizard monkey motorbike mouse parrot person rabbit shark skateboard snake snowboard
squirrel surfboard tennis_racket tiger train truck turtle whale zebra"""

_OVIS = """Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra Giraffe Poultry Giant_panda Lizard Parrot Monkey
Rabbit Tiger Fish Turtle Bicycle Motorcycle Airplane Boat Vehical"""

# id -> name, ids from 1 in the order of the releases
CATEGORIES_2019 = dict(enumerate(_YTVIS_2019.split(), 1))
CATEGORIES_2021 = dict(enumerate(_YTVIS_2021.split(), 1))
"""YouTube-VIS 2021 and 2022."""
CATEGORIES_OVIS = dict(enumerate(_OVIS.split(), 1))
"""The spelling "Vehical" is that of OVIS."""

_COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell
phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"""

CATEGORIES_COCO = dict(enumerate(_COCO.replace("\n", " ").split(", "), 1))
"""Consecutive labels of a detector; COCO's own ids have gaps."""


def fold_name(name: str) -> str:
    """A class name for comparison: its letters and digits, case folded; all of it where it has none."""
    folded = name.casefold()
    return "".join(filter(str.isalnum, folded)) or folded


@dataclass(frozen=True)
class BackboneConfig:
    """A four-level backbone, strides 4, 8, 16 and 32.

    dims: channels of each level. depths: blocks of each level. heads, sr_ratios (spatial reduction of keys and
    values) and mlp_ratios (hidden width of the feed-forward part over its width) are for transformers alone.
    messengers: number of messenger tokens a frame, 0 for none (PVTv2 alone has them).
    drop_path: rate of the last block in training, rising linearly from 0.
    """

    kind: Literal["pvt_v2", "resnet50", "swin"]
    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, ...]
    sr_ratios: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    messengers: int
    drop_path: float


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a model and its classes.

    categories: (id, name) in the order of the class logits. queries: object queries a clip. stages: refinement
    stages. channels, heads, ffn_channels: of the query attention. dynamic_channels: inner width of the dynamic
    convolution. time_attention: whether queries also attend over the frames (False gives QueryInst).
    scale: (short, long) bounds in pixels for the sides of the resized frame at test time.
    """

    name: str
    backbone: BackboneConfig
    categories: tuple[tuple[int, str], ...]
    queries: int
    stages: int
    channels: int
    heads: int
    ffn_channels: int
    dynamic_channels: int
    time_attention: bool
    scale: tuple[int, int]

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.categories)


@dataclass(frozen=True)
class PublishedModel:
    """A released checkpoint: its file, and the metrics that the authors state for it on YouTube-VIS 2019 (in per cent).

    params_m: parameters in millions, trainable and all. sha256: None, because the authors publish none.
    """

    config: ModelConfig
    file_name: str
    params_m: tuple[float, float]
    ap: float
    ap50: float
    ap75: float
    ar1: float
    ar10: float
    sha256: str | None

    @property
    def url(self) -> str:
        """Address of the weights."""
        return RELEASE + self.file_name

    @property
    def megabytes(self) -> int:
        """Size of the file, approximate: its parameters in float32."""
        return math.ceil(4 * self.params_m[1])


PVT_V2_B1 = BackboneConfig(
    kind="pvt_v2",
    dims=(64, 128, 320, 512),
    depths=(2, 2, 2, 2),
    heads=(1, 2, 5, 8),
    sr_ratios=(8, 4, 2, 1),
    mlp_ratios=(8.0, 8.0, 4.0, 4.0),
    messengers=32,
    drop_path=0.1,
)
RESNET_50 = BackboneConfig(
    kind="resnet50",
    dims=(256, 512, 1024, 2048),
    depths=(3, 4, 6, 3),
    heads=(),
    sr_ratios=(),
    mlp_ratios=(),
    messengers=0,
    drop_path=0.0,
)
SWIN_L = BackboneConfig(
    kind="swin",
    dims=(192, 384, 768, 1536),
    depths=(2, 2, 18, 2),
    heads=(6, 12, 24, 48),
    sr_ratios=(),
    mlp_ratios=(4.0, 4.0, 4.0, 4.0),
    messengers=0,
    drop_path=0.2,
)

TEVIT_MSGSHIFT = ModelConfig(
    name="tevit_msgshift",
    backbone=PVT_V2_B1,
    categories=tuple(CATEGORIES_2019.items()),
    queries=100,
    stages=6,
    channels=256,
    heads=8,
    ffn_channels=2048,
    dynamic_channels=64,
    time_attention=True,
    scale=(360, 640),
)
TEVIT_MSGSHIFT_MST = replace(TEVIT_MSGSHIFT, name="tevit_msgshift_mst")
TEVIT_R50 = replace(TEVIT_MSGSHIFT, name="tevit_r50", backbone=RESNET_50)
TEVIT_SWIN_L_MST = replace(TEVIT_MSGSHIFT, name="tevit_swin_l_mst", backbone=SWIN_L, queries=300, scale=(480, 1333))

MODELS: Mapping[str, PublishedModel] = MappingProxyType(
    {
        "tevit_msgshift": PublishedModel(
            TEVIT_MSGSHIFT, "tevit_msgshift.pth", (161.83, 161.83), 46.3, 70.6, 50.9, 45.2, 54.3, None
        ),
        "tevit_msgshift_mst": PublishedModel(
            TEVIT_MSGSHIFT_MST, "tevit_msgshift_mstrain.pth", (161.83, 161.83), 46.9, 70.1, 52.9, 45.0, 53.4, None
        ),
        "tevit_r50": PublishedModel(TEVIT_R50, "tevit_r50.pth", (172.34, 172.57), 42.1, 67.8, 44.8, 41.3, 49.9, None),
        "tevit_swin_l_mst": PublishedModel(
            TEVIT_SWIN_L_MST, "tevit_swin-l_mstrain.pth", (343.86, 343.86), 56.8, 80.6, 63.1, 52.0, 63.3, None
        ),
    }
)
"""The published models by name."""

QUERYINST_PVT = replace(
    TEVIT_MSGSHIFT,
    name="queryinst_pvtv2b1_coco",
    backbone=replace(PVT_V2_B1, messengers=0),
    categories=tuple(CATEGORIES_COCO.items()),
    time_attention=False,
    scale=(800, 1333),
)
"""The COCO-pretrained QueryInst (images, not videos) from which training starts."""


@dataclass(frozen=True)
class StartFile:
    """Released weights from which recipes start. sha256: None, because the authors publish none."""

    config: ModelConfig
    file_name: str
    sha256: str | None

    @property
    def url(self) -> str:
        """Address of the weights."""
        return RELEASE + self.file_name


START_FILES: Mapping[str, StartFile] = MappingProxyType(
    {QUERYINST_PVT.name: StartFile(QUERYINST_PVT, "queryinst_pvtv2-b1_fpn_mstrain_480-800_3x_coco.pth", None)}
)
"""The released weights for training by name; they are no models of videos."""

TEVIT_DEMO = ModelConfig(
    name="tevit_demo",
    backbone=BackboneConfig(
        kind="pvt_v2",
        dims=(24, 48, 96, 128),
        depths=(1, 2, 2, 1),
        heads=(1, 2, 4, 4),
        sr_ratios=(8, 4, 2, 1),
        mlp_ratios=(4.0, 4.0, 4.0, 4.0),
        messengers=8,
        drop_path=0.0,
    ),
    categories=tuple(enumerate(("disc", "square", "triangle", "star", "cross", "ring", "crescent", "heart"), 1)),
    queries=16,
    stages=6,
    channels=64,
    heads=4,
    ffn_channels=256,
    dynamic_channels=32,
    time_attention=True,
    scale=(192, 320),
)
"""The small model that is part of the package; trained by `tevit train demo` on the data of `tevit shapes`."""
DEMO_LIMITS = "tevit_demo recognizes eight synthetic shapes and nothing real"

BUNDLED_MODELS: Mapping[str, ModelConfig] = MappingProxyType({TEVIT_DEMO.name: TEVIT_DEMO})
"""Models whose weights are part of the package, by name."""


def published(name: str) -> ModelConfig:
    """The configuration of a published model or of the demo model.

    Raises: ValueError that suggests the nearest name.
    """
    configs = {**{known: model.config for known, model in MODELS.items()}, **BUNDLED_MODELS}
    if name in configs:
        return configs[name]
    near = get_close_matches(name, configs, n=1, cutoff=0)
    raise ValueError(f"unknown model {name!r}; did you mean {near[0]!r}? The models are {', '.join(configs)}")


class PredictOverrides(TypedDict, total=False):
    """The fields of `PredictOptions` as keyword arguments."""

    window: int | None
    max_tracks: int
    score_threshold: float
    size: tuple[int, int] | None
    cuts: bool


@dataclass(frozen=True)
class PredictOptions:
    """How a video is predicted.

    window: frames in one pass of the model; 0: the whole video, as in the original; None: the whole video up to 48
    frames, beyond that windows of 24 that overlap by 4. Windows also contain keyframes of earlier ones.
    max_tracks: tracks computed for each window and returned for every 48 frames of a long video, 100 at most.
    score_threshold: tracks with a lower score are left out. size: (short, long) bounds of the resized frame in pixels;
    None: the model's. cuts: detect hard cuts, over which no window and no track reaches.
    Raises: ValueError for a value out of range.
    """

    window: int | None = None
    max_tracks: int = 10
    score_threshold: float = 0.0
    size: tuple[int, int] | None = None
    cuts: bool = True

    def __post_init__(self) -> None:
        if self.window is not None and (self.window < 0 or self.window == 1):
            raise ValueError(f"window: expected 0 (the whole video) or at least 2 frames, got {self.window}")
        if self.max_tracks < 1:
            raise ValueError(f"max_tracks: expected at least 1, got {self.max_tracks}")
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"score_threshold: expected a probability from 0 to 1, got {self.score_threshold}")

    def updated(self, **overrides: Unpack[PredictOverrides]) -> "PredictOptions":
        """A copy with other values for some fields."""
        return replace(self, **overrides)

    def to_json(self) -> dict[str, Any]:
        """The options that the tracks depend on before `score_threshold` is applied, as JSON values by name."""
        # `cuts` is written only where it is off: files from before it existed stay comparable.
        cuts = {} if self.cuts else {"cuts": False}
        return {"window": self.window, "max_tracks": self.max_tracks, "size": self.size} | cuts


DEFAULT_OPTIONS = PredictOptions()
