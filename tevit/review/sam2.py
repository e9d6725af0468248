"""SAM 2.1 of the transformers library as a segmenter: masks from points and boxes, and masks carried through a video.

Source: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tevit.download import load_pretrained, optional_package
from tevit.progress import Progress
from tevit.review.propagate import MIN_CONFIDENCE, Propagation, check_keys
from tevit.review.segmenter import BoxXYXY, Point, check_prompts


def sam2(checkpoint: str, device: str = "cpu") -> "Sam2Segmenter":
    """SAM 2.1. checkpoint: a local folder, or a name on the Hugging Face hub; HF_HUB_OFFLINE=1 prevents downloads.

    Raises: ValueError where the package or the checkpoint is missing.
    """
    transformers = optional_package("transformers", "segmenter sam2", "sam")
    videos = load_pretrained(transformers.Sam2VideoModel.from_pretrained, checkpoint).eval().to(device)
    images = load_pretrained(transformers.Sam2Model.from_pretrained, checkpoint).eval()
    processor = load_pretrained(transformers.Sam2VideoProcessor.from_pretrained, checkpoint)
    return Sam2Segmenter(videos, images, processor, name=f"SAM 2.1 ({checkpoint.rstrip('/').rpartition('/')[2]})")


@dataclass
class Sam2State:
    """A video that is being segmented. session: of the library. ids: of the objects. frames: so far."""

    session: Any
    ids: tuple[int, ...]
    frames: int = 0


class Sam2Segmenter:
    """A `tevit.review.segmenter.Segmenter`, and masks of several objects frame by frame with `start` and `step`.

    Memory is constant: of the frames that are over only what SAM 2.1 attends to is kept.
    """

    def __init__(self, videos: Any, images: Any, processor: Any, name: str = "SAM 2.1", min_confidence=MIN_CONFIDENCE):
        """videos: `Sam2VideoModel`. images: `Sam2Model` with the same weights. min_confidence: as for `propagate`."""
        self.name, self.min_confidence = name, min_confidence
        self.model, self._images, self._processor = videos, images, processor
        images.vision_encoder = videos.vision_encoder  # by far the largest part: it is kept once
        images.to(videos.device)
        self._memory_frames = max(videos.config.num_maskmem, videos.config.max_object_pointers_in_encoder)

    # --- points and boxes

    def propose(
        self, frame: np.ndarray, points: Sequence[Point] = (), boxes: Sequence[BoxXYXY] = ()
    ) -> list[np.ndarray]:
        """As `Segmenter`. Of the masks for a single point, that with the highest predicted IoU."""
        check_prompts(frame, points, boxes)
        objects = len(boxes) or 1
        prompts: dict[str, Any] = {"input_boxes": [[list(box) for box in boxes]]} if boxes else {}
        if points:
            prompts["input_points"] = [[[[x, y] for x, y, _ in points]] * objects]
            prompts["input_labels"] = [[[int(on) for _, _, on in points]] * objects]
        inputs = self._processor(images=frame, return_tensors="pt", **prompts)
        sizes = inputs.pop("original_sizes")
        with torch.inference_mode():
            output = self._images(**inputs.to(self._images.device), multimask_output=len(points) == 1 and not boxes)
        masks = self._processor.post_process_masks(output.pred_masks.float(), sizes)[0]
        best = output.iou_scores[0].argmax(-1).tolist()
        return [masks[index, choice].cpu().numpy() for index, choice in enumerate(best)]

    # --- one object, between and beyond frames with given masks

    def propagate(
        self,
        frames: Sequence[np.ndarray],
        keys: Mapping[int, np.ndarray],
        *,
        first: int = 0,
        last: int | None = None,
        predictions: Mapping[int, np.ndarray] | None = None,
        progress: Progress | None = None,
    ) -> Propagation:
        """As `Segmenter`; predictions are not used.

        Each frame attends to the key frames on both sides, and to the frames before it in the order of propagation.
        Confidence is the expected IoU by the pixels' probabilities, times the probability that the object is visible.
        """
        last = len(frames) - 1 if last is None else last
        check_keys(frames, keys, first, last)
        done = {t: mask.astype(bool) for t, mask in keys.items() if first <= t <= last}
        masks, confidence, total = dict(done), dict.fromkeys(done, 1.0), last - first + 1
        session = self._session_with_keys(frames, keys)
        start, outer = max((t for t in keys if t <= first), default=min(keys)), (min(keys), max(keys))
        for order in (range(start + 1, last + 1), range(min(keys) - 1, first - 1, -1)):
            for t in (t for t in order if t not in keys):
                mask, value = self._track(session, t, reverse=order.step < 0, size_hw=frames[t].shape[:2])
                if value < self.min_confidence and not outer[0] < t < outer[1]:
                    break
                if first <= t <= last:
                    masks[t], confidence[t] = mask, value
                if progress is not None:
                    progress("propagating", len(masks), total)
        return Propagation(dict(sorted(masks.items())), dict(sorted(confidence.items())))

    def _session_with_keys(self, frames: Sequence[np.ndarray], keys: Mapping[int, np.ndarray]) -> Any:
        """A session of the library in which the key frames have been seen."""
        session = self._processor.init_video_session(inference_device=self.model.device, dtype=self.model.dtype)
        session.processed_frames = _NetworkFrames(frames, self._pixels)
        for t, mask in sorted(keys.items()):
            self._processor.add_inputs_to_inference_session(session, t, [0], input_masks=[mask.astype(bool)])
            with torch.inference_mode():
                self.model(inference_session=session, frame_idx=t)
        return session

    def _track(self, session: Any, t: int, reverse: bool, size_hw: tuple[int, int]) -> tuple[np.ndarray, float]:
        """Mask and confidence in frame t."""
        with torch.inference_mode():
            output = self.model(inference_session=session, frame_idx=t, reverse=reverse)
            logits = _enlarged(output.pred_masks, size_hw)[0]
            mask, probability = logits > 0, logits.sigmoid()
            visible = float(output.object_score_logits.float().sigmoid().max())
            union = mask.sum() + (probability * ~mask).sum()
            expected = float((probability * mask).sum() / union) if mask.any() else 0.0
        _forget(session, t + self._memory_frames if reverse else t - self._memory_frames)
        return mask.cpu().numpy(), visible * expected if expected else 1 - visible

    # --- several objects, one frame after the other

    def start(self, frame: np.ndarray, masks: Mapping[int, np.ndarray]) -> Sam2State:
        """The state after a frame with given masks.

        frame: uint8 RGB (H, W, 3). masks: of one or more objects by id, bool (H, W).
        Raises: ValueError without a mask, for an empty mask, and for a mask of another size.
        """
        if not masks:
            raise ValueError("expected the masks of one or more objects, got none")
        for id, mask in masks.items():
            if mask.shape != frame.shape[:2] or not mask.any():
                actual = "one without pixels" if mask.shape == frame.shape[:2] else f"one of {mask.shape}"
                raise ValueError(f"object {id}: expected a mask of {frame.shape[:2]} with pixels, got {actual}")
        session = self._processor.init_video_session(inference_device=self.model.device, dtype=self.model.dtype)
        self._processor.add_inputs_to_inference_session(
            session,
            frame_idx=0,
            obj_ids=list(masks),
            input_masks=[mask.astype(bool) for mask in masks.values()],
            original_size=frame.shape[:2],
        )
        state = Sam2State(session, tuple(masks))
        self.step(frame, state)
        return state

    def step(self, frame: np.ndarray, state: Sam2State) -> dict[int, np.ndarray]:
        """The masks in the next frame, bool (H, W), by id, empty where an object is absent; the state moves on."""
        session, t = state.session, state.frames
        with torch.inference_mode():
            output = self.model(inference_session=session, frame=self._pixels(frame))
            masks = (_enlarged(output.pred_masks, frame.shape[:2]) > 0).cpu().numpy()
        session.processed_frames[t] = session.processed_frames[t][:, :1, :1]  # its key numbers the next frame
        _forget(session, t - self._memory_frames)
        state.frames += 1
        return {int(id): mask for id, mask in zip(output.object_ids, masks, strict=True)}

    def _pixels(self, frame: np.ndarray) -> torch.Tensor:
        """Normalised, (3, h, w) of the network's input size."""
        videos = self._processor.video_processor(videos=[frame[None]], return_tensors="pt")
        return videos["pixel_values_videos"][0, 0].to(self.model.device, self.model.dtype)


class _NetworkFrames(Mapping[int, torch.Tensor]):
    """The frames of a video as the library's session holds them, computed when they are read."""

    def __init__(self, frames: Sequence[np.ndarray], pixels: Any):
        self._frames, self._pixels = frames, pixels

    def __getitem__(self, t: int) -> torch.Tensor:
        return self._pixels(self._frames[t])

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._frames)))


def _enlarged(logits: torch.Tensor, size_hw: Sequence[int]) -> torch.Tensor:
    """Mask logits (objects, 1, h, w) as float32 (objects, H, W)."""
    return torch.nn.functional.interpolate(logits.float(), tuple(size_hw), mode="bilinear")[:, 0]


def _forget(session: Any, t: int) -> None:
    """Drop the memory of a frame that is no longer attended to."""
    for objects in session.output_dict_per_obj.values():
        objects["non_cond_frame_outputs"].pop(t, None)
    for tracked in session.frames_tracked_per_obj.values():
        tracked.pop(t, None)
