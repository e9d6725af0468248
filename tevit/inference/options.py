"""What a caller can choose about a prediction."""

from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack


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
