"""The review of one data set, shared by all pages: its log by question, the queues, and corrected labels by video.

Other pages and other processes may append to the log. A data set without labels gets an empty file of labels first.
"""

import hashlib
import logging
import os
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import cast

import msgspec

from tevit.evaluation.api import evaluate
from tevit.io import json as jsonfile
from tevit.io.files import atomic, natural_order, order_note
from tevit.io.ytvis import Dataset, Results, VideoInfo, open_dataset, parse_dataset
from tevit.progress import Progress
from tevit.results import VideoResult
from tevit.review.apply import (
    Corrected,
    ModelComparison,
    check_applicable,
    correct,
    other_versions,
    write_corrected,
    write_report,
)
from tevit.review.decisions import (
    TRACK_CREATING,
    AddTrack,
    Decision,
    Keep,
    PredictionRef,
    Redo,
    Subject,
    Undo,
    Verdict,
    decide,
    subject_of,
)
from tevit.review.labels import content_hash
from tevit.review.log import Disagreement, LogState
from tevit.review.queue import Answer, ItemBuilder, ReviewItem, all_labels, build_queue, likely_answers
from tevit.review.recovery import recover_lines
from tevit.review.reviewers import Agreement, Team, agreements, disagreement_item, resolving_answers
from tevit.video.reader import IMAGE_SUFFIXES

from ...analysis.filter import chips, from_query, selected_models, sorted_selection
from ...analysis.service import EvaluationService
from ...player.proxy import VideoSource
from ...projects.project import File, Project
from ...storage.review_log import ReviewStore

log = logging.getLogger(__name__)

DISAGREEMENTS = "* disagreements of the reviewers"  # in place of a model's name: what reviewers disagree about
ALL_LABELS = ""  # in place of a model's name: all tracks of all videos
LABELS_FILE = "begun.json"  # in the project's folder: a data set without labels, for predictions alone
EVALUATION_SECONDS = 120.0  # how long to wait for the evaluation of the tab Errors, after a restart of the studio
_PAUSE_SECONDS = 600  # a longer time between two decisions is a break, not the time that an item took


class IndexedLog(LogState):
    """The log's state with its decisions by subject and by video, and times. Not thread-safe.

    track_numbers: id of a decision that creates a track -> its number among these decisions, from 1. hidden: ids of
    decisions that what follows leaves out, see `ReviewSession.log`.
    """

    def __init__(self, log: Iterable[Decision] = ()):
        self.track_numbers: dict[str, int] = {}
        self.hidden: frozenset[str] = frozenset()
        self._by_key: dict[Subject, list[Decision]] = {}
        self._by_video: dict[int, list[Decision]] = {}
        self._videos: dict[str, int] = {}
        self._gaps: dict[str, list[float]] = {}
        self._times: dict[str, float] = {}
        self._agreements: tuple[int, list[Agreement]] | None = None
        super().__init__(log)

    def add(self, new: Iterable[Decision]) -> None:
        """Append decisions to the log, in order."""
        for decision in new:
            super().add((decision,))
            if isinstance(decision.action, TRACK_CREATING):
                self.track_numbers[decision.id] = len(self.track_numbers) + 1
            video = decision.video_id
            if isinstance(decision.action, Undo | Redo):  # belongs to the video of the decision that it switches
                video = self._videos.get(decision.action.decision, video)
            elif decision.verdict is not None:
                self._by_key.setdefault(subject_of(decision), []).append(decision)
                now = datetime.fromisoformat(decision.time).timestamp()
                gap = now - self._times.get(decision.reviewer, now - _PAUSE_SECONDS)
                if 0 < gap < _PAUSE_SECONDS:
                    self._gaps.setdefault(decision.reviewer, []).append(gap)
                self._times[decision.reviewer] = now
            self._videos[decision.id] = decision.video_id
            self._by_video.setdefault(video, []).append(decision)

    def reviewers(self, key: Subject) -> tuple[str, ...]:
        """Who has decided on a subject, without decisions that are undone."""
        return tuple(dict.fromkeys(decision.reviewer for decision in self.of_key(key)))

    def of_key(self, key: Subject) -> tuple[Decision, ...]:
        """All decisions on a subject that are not undone."""
        return tuple(d for d in self._by_key.get(key, ()) if d.id not in self.undone and d.id not in self.hidden)

    def of_video(self, video: int) -> tuple[Decision, ...]:
        """All decisions on one video, in the log's order."""
        return tuple(d for d in self._by_video.get(video, ()) if d.id not in self.hidden)

    def hide(self, team: Team, reviewer: str) -> None:
        """Leave out what this reviewer must not see before their own decision."""
        if team.per_question < 2:
            self.hidden = frozenset()
            return
        shown = {key: [d for d in own if d.id not in self.undone] for key, own in self._by_key.items()}
        self.hidden = team.hidden(shown, reviewer)

    def added_track(self, key: Subject) -> Decision | None:
        """The decision that added the key's prediction as a label, unless it is undone."""
        return next((d for d in reversed(self.of_key(key)) if isinstance(d.action, AddTrack)), None)

    @property
    def verdict_counts(self) -> Mapping[str, Counter[Verdict]]:
        """As `LogState`, without reviewers who never gave a verdict."""
        return {reviewer: counts for reviewer, counts in super().verdict_counts.items() if counts}

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """As `LogState`, by video."""
        shown = [item for item in super().disagreements if self.hidden.isdisjoint(d.id for d in item.decisions)]
        return tuple(sorted(shown, key=lambda item: item.video_id))

    @property
    def agreements(self) -> list[Agreement]:
        """How far every two reviewers agree; computed once for each state of the log."""
        if self._agreements is None or self._agreements[0] != len(self.log):
            self._agreements = len(self.log), agreements(self)
        return self._agreements[1]

    def seconds(self, reviewer: str) -> float | None:
        """Median seconds between this reviewer's decisions; None before there are two."""
        gaps = self._gaps.get(reviewer)
        return median(gaps) if gaps else None


@dataclass(frozen=True)
class Question:
    """An entry of a queue. model: whose prediction it is about; ALL_LABELS for none. disagreement: that of
    reviewers that it is about, None for another question."""

    item: ReviewItem
    model: str
    disagreement: Disagreement | None = None


class ReviewSession:
    """One project's review. May be used from any thread."""

    def __init__(self, project: Project):
        self._opened = project
        self._lock = threading.RLock()
        self._store: ReviewStore | None = None
        self._log, self._generation = IndexedLog(), 0  # as of the store's generation
        self._queues: dict[str, tuple[Question, ...]] = {}
        self._queue_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @cached_property
    def project(self) -> Project:
        """With labels: for predictions alone an empty data set is made. Raises: OSError, ValueError."""
        with self._lock:
            return with_labels(self._opened)

    @property
    def models(self) -> list[str]:
        """The models' names."""
        return [model.name for model in self._opened.models]

    @property
    def missing_input(self) -> str:
        """Why nothing can be reviewed; "" where something can. Raises: OSError, ValueError."""
        if self.project.truth is None:
            return "Review needs a data set or a model's predictions: start the studio with --dataset or --predictions."
        return "" if self.project.dataset.videos else "This data set has no videos."

    @property
    def store(self) -> ReviewStore:
        """The log on disk, opened on first use. Raises: as `ReviewStore`."""
        with self._lock:
            if self._store is None:
                self._store = ReviewStore(self._opened.folder)
            return self._store

    @cached_property
    def original(self) -> bytes:
        """The JSON of the labels' file, unpacked. Raises: OSError, ValueError."""
        assert self.project.truth is not None
        return jsonfile.read(self.project.truth.path)

    @cached_property
    def hash(self) -> str:
        """The labels' `content_hash`, which every decision carries."""
        return content_hash(self.original)

    @cached_property
    def labels(self) -> "OriginalLabels":
        """The original labels by video. Raises: OSError, ValueError."""
        return OriginalLabels(self.original)

    @contextmanager
    def log(self, team: Team | None = None, reviewer: str = "") -> Iterator[IndexedLog]:
        """The log, up to date with the disk and locked; of a team without what the reviewer must not see yet.

        Raises: OSError.
        """
        with self._lock:
            decisions = self.store.decisions()
            if self._generation != self.store.generation:  # restored from damage: earlier ones may be missing
                self._log, self._generation = IndexedLog(), self.store.generation
            self._log.add(decisions[len(self._log.log) :])
            self._log.hide(team or Team(), reviewer)
            yield self._log

    def undo_or_redo(self, reviewer: str, undo: bool) -> Decision | None:
        """Undo this reviewer's latest decision, or restore the latest that is undone, and return it; None where there
        is none. Raises: OSError, ValueError: then nothing was saved."""
        with self.log() as log:
            target = log.undoable(reviewer) if undo else log.redoable(reviewer)
            if target is not None:
                action = Undo(target.id) if undo else Redo(target.id)
                self.store.append(decide(self.hash, target.video_id, None, action, reviewer))
            return target

    # --- queues

    def queue(self, model: str, progress: Progress | None = None) -> tuple[Question, ...]:
        """Where labels and a model disagree, most likely label errors first; ALL_LABELS: every label, in file order.

        Computed once. Raises: OSError, ValueError where files cannot be read.
        """
        with self._lock:
            lock = self._queue_locks[model]
        with lock:
            if model not in self._queues:
                self._queues[model] = tuple(Question(item, model) for item in self._items(model, progress))
            return self._queues[model]

    def _items(self, model: str, progress: Progress | None) -> Sequence[ReviewItem]:
        project = self.project
        if model == ALL_LABELS:
            return all_labels(project.dataset)
        results = project.results[project.model_index(model)]
        if not project.has_truth:
            return items_of_predictions(project.dataset, results)
        from tevit.evaluation.error_table import analyse_errors
        from tevit.evaluation.inputs import read_inputs
        from tevit.evaluation.overlaps import compute_overlaps

        overlaps = compute_overlaps(read_inputs(project.dataset, results), progress=progress, all_pairs=True)
        return build_queue(project.dataset, results, overlaps, analyse_errors(overlaps))

    def queue_of_errors(self, evaluations: EvaluationService, query: str) -> tuple[tuple[Question, ...], str]:
        """The list of the tab Errors in its order, each object once; and its filter in words.

        query: the tab's settings, see app.analysis.filter. Raises: ValueError.
        """
        settings = from_query(query)
        task = evaluations.open(self.project)
        try:
            status = task.wait(EVALUATION_SECONDS)
        finally:
            task.leave()
        if status.result is None:
            raise ValueError(f"The list of errors is not there: {status.message}")
        comparison = selected_models(evaluations, status.result, settings)
        builders = {model.name: ItemBuilder(self.project.dataset, model.overlaps) for model in comparison.models}
        questions: dict[Subject, Question] = {}
        for index in sorted_selection(comparison, settings).rows.tolist():
            r = comparison.table.record(index)
            if r.worst_frame is not None:  # otherwise no frame shows the error
                item = builders[r.model].from_error(r)
                question = Question(item, r.model)
                questions.setdefault(self.key(question), question)
        words = ", ".join(chip.words for chip in chips(comparison, settings.filter)) or "all"
        return tuple(questions.values()), f"Errors: {words}"

    def disagreements(self, team: Team, reviewer: str) -> tuple[Question, ...]:
        """What reviewers disagree about and nobody has resolved, a question each."""
        models = {model.file.sha256: model.name for model in self.project.models}
        questions = []
        with self.log(team, reviewer) as log:
            for disagreement in log.disagreements:
                prediction = next((d.prediction for d in disagreement.decisions if d.prediction), None)
                model = models.get(prediction.sha256, ALL_LABELS) if prediction else next(iter(self.models), ALL_LABELS)
                place = prediction.place if prediction and model else None
                questions.append(
                    Question(disagreement_item(disagreement, self.project.dataset, place), model, disagreement)
                )
        return tuple(questions)

    def key(self, question: Question) -> Subject:
        """The subject of a question."""
        models = self.project.models
        return question.item.subject(
            models[self.project.model_index(question.model)].file.sha256 if question.model else ""
        )

    def answers(self, question: Question) -> tuple[Answer, ...]:
        """The likely answers. Raises: ValueError where masks cannot be read."""
        project, reference = self.project, None
        if question.disagreement is not None:
            return resolving_answers(question.disagreement, question.item, project.dataset.categories)
        if question.item.prediction is not None:
            reference = self.reference(question.model, question.item.prediction)
        # Without a prediction nothing is read from the results.
        results = project.results[project.model_index(question.model)] if question.model else cast(Results, None)
        return likely_answers(question.item, project.dataset, results, reference)

    def reference(self, model: str, place: int) -> PredictionRef:
        """The reference to a model's prediction. place: from 1."""
        file = self.project.models[self.project.model_index(model)].file
        return PredictionRef(Path(file.path).name, file.sha256, place)


def items_of_predictions(dataset: Dataset, results: Results) -> list[ReviewItem]:
    """Without labels: one item for each prediction, highest score first."""
    items = []
    for video in dataset.videos:
        for place, track in zip(results.by_video.get(video, ()), results.masks(video), strict=True):
            prediction = results.predictions[place]
            name = dataset.categories.get(prediction.category_id, f"class {prediction.category_id}").replace("_", " ")
            question = f"Is there a {name}? The model predicts it ({prediction.score:.2f})."
            if track.areas.any():
                frame = int(track.areas.argmax())
                items.append(ReviewItem(video, "missing", prediction.score, frame, (), place + 1, question))
    return sorted(items, key=lambda item: -item.priority)


# --- corrected labels, video by video


@dataclass(frozen=True)
class CorrectedVideo:
    """One video's labels with the log applied. changes: number of decisions that changed something. new_ids: id of a
    decision that creates a track -> the track's id, the same as in the corrected labels of all videos."""

    result: VideoResult
    changes: int
    new_ids: Mapping[str, int]


class _RecordIds(msgspec.Struct):
    id: int
    video_id: int = 0


class _LabelsFile(msgspec.Struct):
    videos: list[msgspec.Raw]
    categories: msgspec.Raw
    annotations: list[msgspec.Raw] | None = None


class OriginalLabels:
    """The original labels by video. original: content of their file. Raises: ValueError where it is invalid."""

    def __init__(self, original: bytes):
        content = jsonfile.decode(original, _LabelsFile, "the labels")
        self._categories = content.categories
        self._videos = {msgspec.json.decode(raw, type=_RecordIds).id: raw for raw in content.videos}
        self._annotations: dict[int, list[msgspec.Raw]] = defaultdict(list)
        self._max_id = zeros = 0
        for raw in content.annotations or ():
            ids = msgspec.json.decode(raw, type=_RecordIds)
            self._annotations[ids.video_id].append(raw)
            self._max_id = max(self._max_id, ids.id)
            zeros += ids.id == 0
        self._max_id += zeros  # annotations 0 get the first free ids in corrected labels

    def corrected(self, video: int, log: IndexedLog) -> CorrectedVideo:
        """A video's labels with the log applied. Raises: ValueError where its masks cannot be read."""
        content = {"videos": [self._videos[video]], "categories": self._categories}
        content |= {"annotations": self._annotations.get(video, [])}
        corrected = correct(msgspec.json.encode(content), log.of_video(video), only_fitting=True)
        new_ids = {id: self._max_id + log.track_numbers[id] for id in corrected.new_ids}
        # Of this video alone, new tracks have other ids than in the labels of all videos.
        renumbered = {number: new_ids[id] for id, number in corrected.new_ids.items()}
        renumbered |= dict.fromkeys(corrected.renumbered, 0)  # decisions name it by 0
        result = parse_dataset(corrected.data, "the corrected labels").video(video)
        tracks = tuple(replace(track, id=renumbered.get(track.id, track.id)) for track in result.tracks)
        changes = sum(not isinstance(decision.action, Keep) for decision in corrected.applied)
        return CorrectedVideo(replace(result, tracks=tracks), changes, new_ids)


# --- predictions without labels


def with_labels(project: Project) -> Project:
    """The project; without a ground truth file, with LABELS_FILE that lists the videos of the predictions.

    Raises: OSError; ValueError where frames and predictions do not belong together.
    """
    if project.truth is not None or not project.models:
        return project
    content, path = unlabelled_dataset(project.dataset, project.frames), project.folder / LABELS_FILE
    if not path.is_file() or path.read_bytes() != content:
        try:
            with atomic(path) as part:
                part.write_bytes(content)
        except OSError:  # the folder cannot be written: then the file lasts as long as the studio runs
            path = Path(tempfile.mkdtemp(prefix="review-"), path.name)
            path.write_bytes(content)
    stat = path.stat()
    return replace(project, truth=File(str(path), hashlib.sha256(content).hexdigest(), stat.st_size, stat.st_mtime_ns))


def unlabelled_dataset(dataset: Dataset, frames: str | os.PathLike | None) -> bytes:
    """The data set's videos and classes as YouTube-VIS JSON without annotations; the same input gives the same bytes.

    dataset: videos with ids and without file names. frames: folder of the videos' folders, or of one video's images;
    None: no file names. A video's folder is the one named by its id; without such names the folders, by name, are in
    the order of the ids.

    Raises: OSError; ValueError where folders and videos do not belong together.
    """
    videos = list(dataset.videos.values())
    names: Sequence[Sequence[str]] = [()] * len(videos)
    if frames is not None:
        root = Path(frames)
        root = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
        pairs = zip(videos, _video_folders(videos, root), strict=True)
        names = [_image_names(info, folder, root) for info, folder in pairs]
    content = {
        "videos": [
            {"id": v.id, "width": v.width, "height": v.height, "length": v.length, "file_names": files}
            for v, files in zip(videos, names, strict=True)
        ],
        "categories": [{"id": id, "name": name} for id, name in dataset.categories.items()],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def _video_folders(videos: Sequence[VideoInfo], root: Path) -> list[Path]:
    def has_images(folder: Path) -> bool:
        return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())

    if len(videos) == 1 and has_images(root):
        return [root]
    folders = natural_order(path for path in root.iterdir() if path.is_dir() and has_images(path))
    numbered = {int(path.name): path for path in folders if path.name.isdecimal()}
    if all(video.id in numbered for video in videos):
        return [numbered[video.id] for video in videos]
    if [video.id for video in videos] != list(range(1, len(folders) + 1)):
        raise ValueError(
            f"{root}: expected a folder of images for each of the {len(videos)} predicted videos, named by its id or "
            f"in the order of the ids from 1 on, got {len(folders)} folders"
        )
    if note := order_note(folder.name for folder in folders):
        log.warning("%s: %s", root, note.replace("frames", "videos", 1))
    return folders


def _image_names(info: VideoInfo, folder: Path, root: Path) -> list[str]:
    """Relative to the root. Raises: ValueError where the images are not this video's."""
    video = VideoSource(folder.name, folder).open()
    if (video.length, video.size_hw) != (info.length, info.size_hw):
        raise ValueError(
            f"{folder}: expected the {info.length} frames of {info.size_hw} pixels (height, width) of video {info.id}, "
            f"got {video.length} of {video.size_hw}"
        )
    for note in video.notes:
        log.warning("%s: %s", folder, note)
    return [(folder / name).relative_to(root).as_posix() for name in video.file_names]


def _correct(session: ReviewSession) -> tuple[Corrected, tuple[Decision, ...]]:
    """The labels with all that fits applied, and the log. Raises: OSError, ValueError."""
    log = session.store.decisions()
    return correct(session.original, log, only_fitting=True), log


def write_file(name: str, session: ReviewSession, folder: Path) -> list[str]:
    """Write one of the tab's files into the folder; returns what was not applied, and why, and new ids.

    Raises: OSError, ValueError.
    """
    if name == "decisions.jsonl":
        session.store.export(folder / name)
        return []
    corrected, log = _correct(session)
    truth = session.project.truth
    assert truth is not None
    if name == "corrected.json":
        write_corrected(folder / name, corrected.data, (truth.path,))
    else:
        write_report(folder, truth.path, log, corrected, frames=session.project.frames)
    return corrected.not_applied() + corrected.notes()


def compare_labels(session: ReviewSession, folder: Path, progress: Progress) -> tuple[list[ModelComparison], int]:
    """Evaluate every model with the original and with the corrected labels; returns also the number of decisions.

    folder: for temporary files. Raises: OSError, ValueError; what `progress` raises.
    """
    project = session.project
    progress("correcting the labels", 0, None)
    corrected, log = _correct(session)
    assert project.truth is not None
    write_corrected(folder / "corrected.json", corrected.data, (project.truth.path,))
    versions = {"original": project.dataset, "corrected": open_dataset(folder / "corrected.json")}
    models: list[ModelComparison] = []
    for model, results in zip(project.models, project.results, strict=True):
        evaluations = []
        for version, dataset in versions.items():

            def report(stage: str, done: int, total: int | None, name: str = f"{model.name} by the {version}") -> None:
                progress(f"{name} labels", done, total)

            evaluations.append(evaluate(dataset, results, progress=report))
        models.append(ModelComparison(model.name, *evaluations))
    return models, len(log)


@dataclass(frozen=True)
class ImportedLog:
    """A log that was read and not taken over yet.

    new: decisions that the project's log lacks. applicable: those of them that fit the labels; not_applicable: why the
    others do not, or cannot be read, a sentence each. other_versions: hashes of other labels -> number of decisions
    made for them. conflicts: ids with other content in the project's log.
    """

    name: str
    decisions: tuple[Decision, ...]
    new: tuple[Decision, ...]
    applicable: tuple[Decision, ...]
    other_versions: dict[str, int]
    not_applicable: tuple[str, ...]
    conflicts: tuple[str, ...]

    @property
    def title(self) -> str:
        """A summary, one sentence."""
        title = f"{self.name}: {len(self.decisions)} decisions, {len(self.new)} of them new"
        if self.other_versions:
            title += f"; {sum(self.other_versions.values())} were made for another version of these labels"
        if self.not_applicable:
            title += f"; {len(self.not_applicable)} do not fit"
        return title + "."

    @property
    def needs_confirmation(self) -> bool:
        """Whether the user decides before anything is taken over."""
        return bool(self.other_versions or self.not_applicable)


def read_import(session: ReviewSession, data: bytes, name: str) -> ImportedLog:
    """Check a log against the labels and the project's log. Raises: ValueError where no line can be read."""
    read = recover_lines(data, name)
    decisions = read.decisions
    known = {decision.id: decision for decision in session.store.decisions()}
    new = tuple(decision for decision in decisions if decision.id not in known)
    conflicts = tuple(decision.id for decision in decisions if known.get(decision.id, decision) != decision)
    applicable, not_applicable = new, read.sentences(name)
    while True:  # until nothing depends on what was left out
        checked = check_applicable([*known.values(), *applicable], session.original)[len(known) :]
        faulty = [item for item in checked if not item.applicable]
        if not faulty:
            break
        not_applicable += map(str, faulty)
        left_out = {item.decision.id for item in faulty}
        applicable = tuple(decision for decision in applicable if decision.id not in left_out)
    others = other_versions(decisions, session.original)
    return ImportedLog(name, decisions, new, applicable, others, tuple(not_applicable), conflicts)
