"""What comes from Hugging Face: our weights on the hub, and models of the transformers library.

A repository of weights, or a local folder of the same form, holds `model.safetensors`, with the configuration in its
header, `config.json` with the same, and the model card.
Adapters give models the interface of `tevit.inference.external`. `videomt`: VidEoMT, video instance segmentation
frame by frame. `detector`: an instance segmentation model for pictures, whose detections a tracker of the package
trackers joins. The packages are optional and imported when a model is created: pip install
'tevit-studio[transformers,trackers]'. A checkpoint is a local folder or a name on the hub; HF_HUB_OFFLINE=1 prevents
downloads.
"""

import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tevit.configs import BUNDLED_MODELS, MODELS, ModelConfig
from tevit.download import card_path, load_pretrained, optional_package
from tevit.inference.external import Instance

if TYPE_CHECKING:
    from tevit.inference.predictor import Predictor


WEIGHTS_NAME = "model.safetensors"
CARD = """\
---
library_name: tevit
license: apache-2.0
pipeline_tag: image-segmentation
tags:
- video-instance-segmentation
- tevit
---

# {name}

A video instance segmentation model for [TeViT](https://arxiv.org/abs/2204.08412) Studio:
`tevit.Predictor.from_pretrained("USER/REPOSITORY")`.

- Backbone {backbone}, {queries} queries, {stages} stages; frames are resized to at most {scale}.
- Classes: {classes}.
- Figures: not measured.
"""


def fetch_weights(folder_or_repository: str | os.PathLike, revision: str | None = None) -> Path:
    """The weights in a folder, or of a repository "user/name", which are downloaded once.

    Raises: FileNotFoundError for a folder without weights; ConnectionError where the hub or the repository is missing.
    """
    folder = Path(folder_or_repository)
    if folder.is_dir():
        if not (folder / WEIGHTS_NAME).is_file():
            raise FileNotFoundError(f"{folder}: expected {WEIGHTS_NAME} in it, found none")
        return folder / WEIGHTS_NAME
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(str(folder_or_repository), WEIGHTS_NAME, revision=revision))
    except HFValidationError as error:
        raise FileNotFoundError(f"{folder}: no such folder, nor a repository's name ({error})") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConnectionError(f"{folder_or_repository}: {WEIGHTS_NAME} cannot be fetched: {error}") from error


def save_pretrained(predictor: "Predictor", folder: str | os.PathLike) -> None:
    """Write weights, configuration and model card into a folder.

    Raises: ValueError where the weights can no longer be read: the model was packed and its file is gone.
    """
    from tevit.checkpoint import read_checkpoint, save_model, save_state
    from tevit.model.tevit import TeViT

    target, source = Path(folder), predictor.weights_file
    target.mkdir(parents=True, exist_ok=True)
    if source is not None and source.is_file():
        config, state = read_checkpoint(source)
        save_state(target / WEIGHTS_NAME, config, state)
    elif source is None and isinstance(predictor.model, TeViT):
        save_model(target / WEIGHTS_NAME, predictor.model)
    else:
        raise ValueError(f"the weights of {predictor.config.name} cannot be read again: {source} is gone")
    (target / "config.json").write_text(json.dumps(asdict(predictor.config), indent=2) + "\n", encoding="utf-8")
    configs = {**{name: model.config for name, model in MODELS.items()}, **BUNDLED_MODELS}
    if configs.get(predictor.config.name) == predictor.config:
        shutil.copy(card_path(predictor.config.name), target / "README.md")
    elif not (target / "README.md").exists():
        (target / "README.md").write_text(_card(predictor.config), encoding="utf-8")


def push_to_hub(
    predictor: "Predictor",
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload model",
) -> str:
    """Create or update a repository "user/name" with what `save_pretrained` writes; returns its address.

    token: of the account; by default that of `hf auth login`.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(predictor, folder)
        url = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return str(url)


def _card(config: ModelConfig) -> str:
    return CARD.format(
        name=config.name,
        backbone=config.backbone.kind,
        queries=config.queries,
        stages=config.stages,
        scale=f"{config.scale[1]}x{config.scale[0]}",
        classes=", ".join(name for _, name in config.categories),
    )


def videomt(
    checkpoint: str = "tue-mps/videomt-dinov2-small-ytvis2019", threshold: float = 0.3, device: str = "cpu"
) -> "VideomtModel":
    """VidEoMT. threshold: lowest score of an instance in a frame.

    Raises: ValueError where the package or the checkpoint is missing.
    """
    transformers = optional_package("transformers", "videomt", "transformers")
    model = load_pretrained(transformers.VideomtForUniversalSegmentation.from_pretrained, checkpoint)
    processor = load_pretrained(transformers.AutoVideoProcessor.from_pretrained, checkpoint)
    return VideomtModel(model.eval().to(device), processor, threshold)


def detector(
    checkpoint: str = "facebook/mask2former-swin-tiny-coco-instance",
    threshold: float = 0.5,
    begin_threshold: float = 0.7,
    lost_frames: int = 30,
    device: str = "cpu",
) -> "TrackedDetector":
    """RF-DETR-Seg, Mask2Former or another instance segmentation model of transformers, with ByteTrack.

    threshold: lowest score of a detection. begin_threshold: score from which a detection begins a track.
    lost_frames: frames without a detection after which a track ends.
    Raises: ValueError where a package or the checkpoint is missing.
    """
    transformers = optional_package("transformers", "detector", "transformers,trackers")
    optional_package("trackers", "detector", "transformers,trackers")
    kind = load_pretrained(transformers.AutoConfig.from_pretrained, checkpoint).model_type
    universal = kind in ("mask2former", "maskformer", "oneformer", "eomt", "eomt_dinov3")
    loader = transformers.AutoModelForUniversalSegmentation if universal else None
    loader = loader or transformers.AutoModelForInstanceSegmentation
    model = load_pretrained(loader.from_pretrained, checkpoint)
    processor = load_pretrained(transformers.AutoImageProcessor.from_pretrained, checkpoint)
    # Only detections above both thresholds begin tracks.
    tracking = {
        "track_activation_threshold": begin_threshold,
        "high_conf_det_threshold": min(0.6, begin_threshold),
        "lost_track_buffer": lost_frames,
    }
    return TrackedDetector(model.eval().to(device), processor, threshold, tracking)


# --- VidEoMT


class VideomtModel:
    """VidEoMT as a model of one video after the other: a query's index is the identity of its track.

    The library's forward gets whole clips, and its post-processing numbers the instances of each frame anew. Here the
    same layers are run frame by frame, and the queries of a frame are passed on to the next one.
    """

    delay = 0

    def __init__(self, model: Any, processor: Any, threshold: float = 0.3):
        self.model, self.threshold = model, threshold
        self.classes = {int(id): str(name) for id, name in model.config.id2label.items()}
        self.device = str(model.device)
        self._processor = processor

    def predict(self, frames: Iterator[np.ndarray]) -> Iterator[dict[int, Instance]]:
        """The instances of each frame; frames: uint8 RGB (H, W, 3)."""
        queries = None
        for frame in frames:
            pixels = self._processor(videos=[frame[None]], return_tensors="pt")["pixel_values_videos"]
            masks, classes, queries = self.logits(pixels[:, 0].to(self.model.device), queries)
            yield self._instances(masks, classes, frame.shape[:2])

    def logits(self, pixels: Any, queries: Any = None) -> tuple[Any, Any, Any]:
        """Mask logits (1, Q, h, w), class logits (1, Q, K + 1) and the queries (1, Q, C) for the next frame.

        pixels: float32 (1, 3, H, W), normalised. queries: of the frame before; None for the first one.
        Source: transformers, `VideomtForUniversalSegmentation.forward`.
        """
        import torch

        model = self.model
        first = model.config.num_hidden_layers - model.config.num_blocks
        with torch.inference_mode():
            hidden = model.embeddings(pixels)
            for layer in model.layers[:first]:
                hidden = layer(hidden)
            tokens = model.query.weight[None]
            if queries is not None:
                tokens = tokens + model.query_updater(queries)
            hidden = torch.cat((tokens.expand(len(pixels), -1, -1), hidden), dim=1)
            for layer in model.layers[first:]:
                hidden = layer(hidden)
            masks, classes = model.predict(model.layernorm(hidden))
        return masks, classes, hidden[:, : model.config.num_queries].clone()

    def _instances(self, masks: Any, classes: Any, size_hw: tuple[int, int]) -> dict[int, Instance]:
        """Scores as in the library: the probability of the class times the mean probability within the mask."""
        import torch

        with torch.inference_mode():
            scores, labels = classes[0].float().softmax(-1)[:, :-1].max(-1)
            selected = (scores >= self.threshold).nonzero()[:, 0]  # the mask's score only lowers it
            if not len(selected):
                return {}
            logits = torch.nn.functional.interpolate(masks[:, selected].float(), size_hw, mode="bilinear")[0]
            inside = logits > 0
            within = (logits.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
            combined = (scores[selected] * within).tolist()
        pixels, names = inside.cpu().numpy(), labels[selected].tolist()
        return {
            query + 1: Instance(names[i], combined[i], pixels[i])
            for i, query in enumerate(selected.tolist())
            if combined[i] >= self.threshold and pixels[i].any()
        }


# --- detector and tracker


class TrackedDetector:
    """Instance segmentation of each frame, joined into tracks by the boxes (ByteTrack); masks stay with their boxes."""

    delay = 0

    def __init__(self, model: Any, processor: Any, threshold: float, tracking: Mapping[str, Any]):
        """tracking: arguments of `trackers.ByteTrackTracker`."""
        self.model, self.threshold, self.tracking = model, threshold, dict(tracking)
        self.classes = {int(id): str(name) for id, name in model.config.id2label.items()}
        self.device = str(model.device)
        self._processor = processor

    def predict(self, frames: Iterator[np.ndarray]) -> Iterator[dict[int, Instance]]:
        """The tracked detections of each frame; frames: uint8 RGB (H, W, 3)."""
        # Imported by name: the extra is not part of `dev`, so that pyright cannot see it.
        tracker = importlib.import_module("trackers").ByteTrackTracker(**self.tracking)
        ids: dict[int, int] = {}  # the tracker's numbers may continue those of an earlier video
        for frame in frames:
            tracked: Any = tracker.update(self.detections(frame))
            instances = {}
            for index in range(len(tracked)):
                if tracked.tracker_id[index] >= 0:
                    id = ids.setdefault(int(tracked.tracker_id[index]), len(ids) + 1)
                    category, score = int(tracked.class_id[index]), float(tracked.confidence[index])
                    instances[id] = Instance(category, score, tracked.mask[index])
            yield instances

    def detections(self, frame: np.ndarray) -> Any:
        """`supervision.Detections` of one frame, with masks."""
        import supervision
        import torch

        with torch.inference_mode():
            inputs = self._processor(images=frame, return_tensors="pt").to(self.model.device)
            output = self.model(**inputs)
            segmented = self._processor.post_process_instance_segmentation(
                output, threshold=self.threshold, target_sizes=[frame.shape[:2]], return_binary_maps=True
            )[0]
        info = segmented["segments_info"]
        if not info:
            return supervision.Detections.empty()
        masks = segmented["segmentation"].cpu().numpy().astype(bool).reshape(len(info), *frame.shape[:2])
        present = [i for i, mask in enumerate(masks) if mask.any()]
        return supervision.Detections(
            xyxy=supervision.mask_to_xyxy(masks[present]).astype(np.float32),
            mask=masks[present],
            confidence=np.array([info[i]["score"] for i in present], np.float32),
            class_id=np.array([info[i]["label_id"] for i in present], int),
        )
