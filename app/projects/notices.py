"""What a person should know about a project's files before believing what is shown of them."""

from collections.abc import Iterator

from app.projects.class_names import offers, unknown
from app.projects.project import Model, Notice, Project, first
from tevit.io.frames import find_frames
from tevit.io.ytvis import Results, VideoInfo


def notices(project: Project) -> Iterator[Notice]:
    """One sentence for each thing that is missing or odd."""
    yield from _annotations(project)
    yield from _frames(project)
    for model, results in zip(project.models, project.results, strict=True):
        yield from _model(project, model, results)


def _annotations(project: Project) -> Iterator[Notice]:
    if project.truth is None:
        text = "There is no ground truth: predictions are shown, but nothing can be measured."
        yield Notice("annotations", text)
    elif not project.dataset.has_annotations:
        text = f"{project.dataset.path.name} has no annotations: predictions are shown, but nothing can be measured."
        yield Notice("annotations", text)
    if not project.models:
        yield Notice("predictions", "There are no predictions yet: name some with --predictions.")


def _frames(project: Project) -> Iterator[Notice]:
    if project.frames is None or not project.frames.is_dir():
        where = f"The folder of frames {project.frames} is not there" if project.frames else "No frames were named"
        yield Notice("frames", f"{where}: masks are shown on grey.")
        return
    videos = list(project.dataset.videos.values())
    missing = [video.name for video in videos if not _has_frames(project, video)]
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        text = f"The frames of {len(missing)} of {len(videos)} videos ({names}) are not in {project.frames}"
        yield Notice("frames", f"{text}: their masks are shown on grey.")


def _has_frames(project: Project, video: VideoInfo) -> bool:
    try:
        return bool(find_frames(video, project.frames or "", project.dataset.path.stem))
    except (FileNotFoundError, ValueError):
        return False


def _model(project: Project, model: Model, results: Results) -> Iterator[Notice]:
    dataset = project.dataset
    without = sorted(dataset.videos.keys() - {prediction.video_id for prediction in results.predictions})
    if without:
        text = f"{model.name} has no predictions for {len(without)} of {len(dataset.videos)} videos"
        yield Notice("videos", f"{text} (ids {first(without)}).", model.name)
    strange = unknown(results, dataset.categories)
    if strange and model.categories is None:
        text = f"{model.name} has category ids that the data set lacks ({first(strange)}): these do not count."
        best = next(iter(offers(results, dataset.categories)), None)
        hint = f" By name, {best.source} would fit {best.predictions} of {best.of} predictions." if best else ""
        yield Notice("categories", text + hint, model.name)
