"""What one server has: the line of runs, the footage, the shows that pages look at, the results that stay."""

import importlib
import logging
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.player.component import Layer, PlayerView
from app.player.proxy import BrowserVideo, PosterFrame, Prepared, ProxyBuilder, VideoSource, dataset_frames
from app.player.routes import ViewRegistry
from app.projects.project import Project
from app.storage.results import ResultStore, StoredResult
from app.tabs.segment.estimates import Speeds
from app.tabs.segment.models import Load
from app.tabs.segment.run import Run
from app.tabs.segment.worker import ModelWorker

if TYPE_CHECKING:
    from tevit.video.reader import Video

log = logging.getLogger(__name__)

CLIPS = Path(__file__).resolve().parents[3] / "assets" / "clips"
LOOK = 0.1  # seconds between looks at footage that is being prepared
PREDICTION = "Prediction"


@dataclass(frozen=True, eq=False)
class Studio:
    """folder: the server's own, removed at its end. checkpoints: given at the start. clips: to try things on, and the
    videos of the data set that was named at the start. May be used from any thread.
    """

    folder: Path
    runs: ModelWorker
    shows: ViewRegistry
    preparer: ProxyBuilder
    results: ResultStore
    checkpoints: Sequence[Path]
    clips: tuple[VideoSource, ...]

    def clip(self, name: str) -> VideoSource:
        """One of the clips that are here. Raises: ValueError for any other name."""
        for source in self.clips:
            if source.name == name:
                return source
        raise ValueError(f"expected one of {', '.join(source.name for source in self.clips)}, got {name[:80]!r}")

    def warm(self) -> None:
        """Import what the first run needs, beside the page that has just been opened; once is enough."""
        if "torch" not in sys.modules:
            threading.Thread(target=importlib.import_module, args=["tevit.inference.predictor"], daemon=True).start()

    def still(self, video: "Video") -> PlayerView:
        """A show of the first picture, while the rest is being prepared. Raises: ValueError, OSError."""
        show = PlayerView(secrets.token_hex(16), PosterFrame.from_video(video), 0, 1, ())
        self.shows.put(show)
        return show

    def bare(self, footage: BrowserVideo) -> PlayerView:
        """A show of the pictures alone."""
        show = PlayerView(secrets.token_hex(16), footage, 0, footage.length, ())
        self.shows.put(show)
        return show

    def pictures(self, token: str) -> Prepared | None:
        """How far the pictures of a run's video are; None where there is no such run."""
        run = self.runs.find(token)
        return None if run is None else self.preparer.last(run.source).now

    def of_run(self, token: str) -> PlayerView | None:
        """The run's pictures with the tracks that it has so far; None while the pictures are being prepared."""
        run, now, pictures = self.runs.find(token), self.runs.snapshot(token), self.pictures(token)
        footage = pictures.footage if pictures else None
        if run is None or now is None or footage is None:
            return None
        first, stop = run.settings.first, run.settings.stop or footage.length
        layers = () if now.result is None else (Layer(PREDICTION, False, now.result),)
        version = 0 if now.result is None else now.result.length
        show = PlayerView(token, footage, first, max(1, min(stop, footage.length) - first), layers, version)
        self.shows.put(show, run.folder)
        return show

    def stored(self, token: str) -> tuple[StoredResult, PlayerView]:
        """A stored result, shown again. Raises: ValueError, one sentence, where there is none."""
        stored = self.results.open(token)
        folder = self.folder / "stored" / token
        folder.mkdir(parents=True, exist_ok=True)
        result = stored.result
        show = PlayerView(
            token, stored.footage, stored.settings.first, result.length, (Layer(PREDICTION, False, result),)
        )
        self.shows.put(show, folder)
        return stored, show

    def show(self, token: str) -> PlayerView | None:
        """What a page looks at, opened again where it was put away."""
        found = self.shows.get(token) or self.of_run(token)
        if found is not None or not token:
            return found
        try:
            return self.stored(token)[1]
        except ValueError:
            return None

    def opener(self, token: str) -> "Callable[[], Video]":
        """Opens the frames that a result is of, for an overlay. Raises: ValueError where it is kept no more."""
        run = self.runs.find(token)
        if run is not None:
            return run.opened
        from tevit.video.reader import video_slice

        stored = self.results.open(token)
        first = stored.settings.first
        return lambda: video_slice(stored.footage.open(), first, first + stored.result.length)

    def close(self) -> None:
        """Stop everything."""
        self.runs.close()
        self.preparer.close()


def open_studio(
    folder: Path, home: Path, load: Load, checkpoints: Sequence[Path], grace: float, videos: Sequence[VideoSource] = ()
) -> Studio:
    """folder: the server's own. home: where results and speeds stay. grace: seconds, see `ModelWorker.leave`. videos:
    of the data set that was named at the start."""
    preparer, results = ProxyBuilder(folder / "footage"), ResultStore(home / "results")
    preparer.folder.mkdir(parents=True, exist_ok=True)
    keep = _keeper(preparer, results)
    runs = ModelWorker(folder / "runs", load, Speeds(home / "speeds.json"), finished=keep, grace=grace)
    clips = [VideoSource(path.stem, path) for path in sorted(CLIPS.glob("*.mp4"))]
    return Studio(folder, runs, ViewRegistry(), preparer, results, checkpoints, (*clips, *videos))


def videos_of(project: Project) -> list[VideoSource]:
    """The videos of a data set whose frames are all there."""
    found = []
    for video in project.dataset.videos.values():
        footage = dataset_frames(project, video.id)
        if isinstance(footage, BrowserVideo) and footage.files:
            found.append(VideoSource(f"{video.name} ({Path(project.name).name})", files=footage.files))
    return found


def _keeper(preparer: ProxyBuilder, results: ResultStore) -> Callable[[Run], None]:
    """Stores what a run has made, once its footage is there too; the model need not wait for that."""

    def keep(run: Run) -> None:
        preparation = preparer.start(run.source)
        while not preparation.now.over:
            time.sleep(LOOK)
        end = run.snapshot()
        if preparation.now.footage is None or end.result is None:
            return
        try:
            results.save(run.token, run.source.name, run.settings, preparation.now.footage, end.result, end.sentence)
        except OSError as error:
            log.warning("the result of %s is not stored: %s", run.source.name, error)

    return lambda run: threading.Thread(target=keep, args=[run], daemon=True).start()
