"""A model over a data set, video by video, by one process or by many that share the videos out among themselves.

The processes are those of PyTorch's launcher (`torchrun`), which tells each its number. They need not talk: each takes
its share, and whoever finds all videos finished puts them together.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tevit.inference.partial_results import Finished
from tevit.io.ytvis import Dataset, VideoInfo

if TYPE_CHECKING:
    from tevit.inference.predictor import Predictor
    from tevit.progress import Progress
    from tevit.results import VideoResult
    from tevit.video.reader import Video


@dataclass(frozen=True)
class Share:
    """Of `world` processes the one with number `rank`, from 0."""

    rank: int = 0
    world: int = 1

    @classmethod
    def of_environment(cls) -> "Share":
        """As torchrun says it in RANK and WORLD_SIZE; alone without it. Raises: ValueError."""
        rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
            raise ValueError(f"expected RANK from 0 and below WORLD_SIZE, got RANK={rank} and WORLD_SIZE={world}")
        return cls(int(rank), int(world))

    def of(self, videos: Mapping[int, VideoInfo]) -> list[int]:
        """This process's videos, in their order: the longest first, each goes to whoever has the fewest frames."""
        frames, mine = [0] * self.world, set()
        for id in sorted(videos, key=lambda id: -videos[id].length):
            rank = frames.index(min(frames))
            frames[rank] += videos[id].length
            if rank == self.rank:
                mine.add(id)
        return [id for id in videos if id in mine]


def local_device(device: str) -> str:
    """Under torchrun every process of a machine takes a CUDA device of its own where none was named."""
    import torch

    local = os.environ.get("LOCAL_RANK", "")
    if not local.isdecimal() or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{int(local) % torch.cuda.device_count()}"


def predict_dataset(
    predictor: "Predictor",
    dataset: Dataset,
    root: Path,
    finished: Finished,
    videos: Sequence[int],
    options: Mapping[str, Any],
    progress: "Progress",
) -> None:
    """Predict those of the videos that are not finished; one that fails is noted and passed over.

    root: folder that the file names are relative to. options: of `Predictor.__call__`. Raises: what progress raises.
    """
    done = finished.done
    for index, id in enumerate(videos):
        progress("predicting", index, len(videos))
        if id in done:
            continue
        finished.try_again(id)
        try:
            finished.keep(_predicted(predictor, dataset, id, root, options))
        except (ValueError, OSError, MemoryError) as error:
            finished.fail(id, str(error))
            print(f"tevit: video {id}: {error}", file=sys.stderr)
    progress("predicting", len(videos), len(videos))


def _predicted(
    predictor: "Predictor", dataset: Dataset, id: int, root: Path, options: Mapping[str, Any]
) -> "VideoResult":
    files = dataset.frame_files(id, root)
    video = in_order(files, id)
    if list(video.file_names) != [file.name for file in files]:
        print(f"tevit: warning: video {id}: the file's frame order is not that of the names", file=sys.stderr)
    return replace(predictor(video, **options), video_id=id)


def in_order(files: Sequence[Path], id: int) -> "Video":
    """A data set's video, its frames in the order of their names, as the original takes them."""
    from tevit.video.reader import open_images

    return open_images(sorted(files, key=lambda file: file.name), str(id))
