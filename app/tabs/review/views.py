"""The components of the tab `Review`, and its HTML: both sides of a question, queue, progress and results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
import numpy as np

from tevit.masks import ops as masks
from tevit.results import Track, VideoResult
from tevit.review.apply import ModelComparison
from tevit.review.decisions import VERDICTS, Decision
from tevit.review.log import lines_in_words, summary
from tevit.review.queue import ReviewItem

from ...page import counted, hint, on_load, render
from ...player.component import build_player
from .session import ALL_LABELS, DISAGREEMENTS, IndexedLog

FILES = ("corrected.json", "changes.csv", "report.html", "decisions.jsonl")
# Mounted once, as the player: the template holds no value, so that answers being saved survive a new value.
_PROMPT = """
  const prompt = module.mount(element.querySelector(".prompt-host"), (event) => trigger("select", event));
  watch("value", () => prompt.show(props.value));
  prompt.show(props.value);
"""


@dataclass(frozen=True)
class ReviewComponents:
    """chip: removes the filter of the tab Errors. prompt: the question with its answers. apply_import: takes over what
    fits of an uploaded log. comparison: AP before and after. message: outcome of downloads and imports. download: the
    address to download."""

    notices: gr.HTML
    source: gr.Dropdown
    chip: gr.Button
    player: gr.HTML
    prompt: gr.HTML
    queue: gr.HTML
    progress: gr.HTML
    files: tuple[gr.Button, ...]
    compare: gr.Button
    cancel: gr.Button
    apply_import: gr.Button
    log: gr.UploadButton
    comparison: gr.HTML
    message: gr.HTML
    download: gr.Textbox

    def all(self) -> Iterator[Any]:
        """Every component."""
        for item in fields(self):
            value = getattr(self, item.name)
            yield from value if isinstance(value, tuple) else (value,)


def build_layout() -> ReviewComponents:
    """Add the components to the Blocks that is open."""
    built: dict[str, Any] = {}
    script = on_load("review/review.js", "module.mountList(element);")
    clicks: dict[str, Any] = {"js_on_load": script, "apply_default_css": False}
    with gr.Column(elem_id="review"):
        built["notices"] = gr.HTML(elem_id="review-notices")
        with gr.Row(elem_id="review-view", equal_height=False):
            with gr.Column(elem_id="review-screen"):
                built["player"] = build_player("review-player")
            with gr.Column(elem_id="review-side"):
                built["source"] = source_dropdown([])
                built["chip"] = gr.Button(visible=False, size="md", elem_id="review-chip")
                built["prompt"] = gr.HTML(
                    None,
                    html_template=render("host.html", name="prompt"),
                    js_on_load=on_load("review/review.js", _PROMPT),
                    apply_default_css=False,
                    elem_id="review-prompt",
                )
        with gr.Row(elem_id="review-below", equal_height=False):
            built["queue"] = gr.HTML(elem_id="review-queue", **clicks)
            with gr.Column(elem_id="review-progress"):
                built["progress"] = gr.HTML(**clicks)
            with gr.Column(elem_id="review-after"):
                built |= _build_results()
        built["download"] = gr.Textbox(visible=False)
    return ReviewComponents(**built)


def source_dropdown(models: Sequence[str]) -> gr.Dropdown:
    """The queues to choose from. models: names."""
    choices = [*((f"disagreements of {name}", name) for name in models), ("all tracks of all videos", ALL_LABELS)]
    choices.append(("disagreements of the reviewers", DISAGREEMENTS))
    return gr.Dropdown(choices, value=choices[0][1] if models else None, label="What to review")


def _build_results() -> dict[str, Any]:
    built: dict[str, Any] = {}
    gr.HTML(render("review/title.html", title="Results"))
    with gr.Row(elem_id="review-files"):
        built["files"] = tuple(gr.Button(name, size="md", min_width=110) for name in FILES)
    with gr.Row(elem_id="review-more"):
        built["compare"] = gr.Button("AP before and after", size="md", min_width=110)
        built["cancel"] = gr.Button("Cancel", size="md", min_width=110, visible=False)
        built["log"] = gr.UploadButton("Import decisions", file_types=[".jsonl"], size="md", min_width=110)
    built["message"] = gr.HTML(elem_id="review-message")
    built["apply_import"] = gr.Button(size="md", visible=False)
    built["comparison"] = gr.HTML(hint(NOT_COMPARED))
    return built


MAX_ROWS = 40  # of the queue before and after the current one: the page stays small however long the queue is
NOT_COMPARED = "AP with the original and with the corrected labels: not computed yet."
CANCELLED = "Cancelled: AP is not computed."


@dataclass(frozen=True)
class QueueRow:
    """A row of the queue. place: from 0. video: its name. reviewers: who decided, "" for nobody."""

    place: int
    item: ReviewItem
    video: str
    reviewers: str


def sides(item: ReviewItem, labels: VideoResult | None, predictions: VideoResult | None) -> list[dict[str, str]]:
    """What labels and prediction state about the object, one line each, and their overlap."""
    tracks = [track for id in item.annotation_ids if (track := _track(labels, id))]
    lines = [_side("Ground truth", track, labels, item.frame) for track in tracks]
    prediction = _track(predictions, item.prediction)
    if prediction is not None:
        lines.append(_side("Prediction", prediction, predictions, item.frame))
    if tracks and prediction is not None:
        whole = masks.track_iou(tracks[0].rles, prediction.rles)
        frame = masks.track_iou([tracks[0].rles[item.frame]], [prediction.rles[item.frame]])
        lines.append({"name": "IoU", "text": f"{whole:.2f} over the track · {frame:.2f} in frame {item.frame}"})
    return lines


def _track(result: VideoResult | None, id: int | None) -> Track | None:
    return next((track for track in result.tracks if track.id == id), None) if result and id is not None else None


def _side(name: str, track: Track, result: VideoResult | None, frame: int) -> dict[str, str]:
    assert result is not None
    words = [f"{track.id} {result.categories.get(track.category_id, f'class {track.category_id}').replace('_', ' ')}"]
    if name == "Prediction":
        words.append(f"score {track.score:.2f}")
    present = np.flatnonzero(track.present)
    frames = f"{counted(len(present), 'frame')}, {present[0]} to {present[-1]}" if len(present) else "no frames"
    words.append(frames)
    if not track.present[frame]:
        words.append(f"not in frame {frame}")
    return {"name": name, "text": " · ".join(words)}


def describe(decision: Decision, names: Mapping[int, str]) -> str:
    """Reviewer, decision and note. names: category id -> name."""
    return f"{decision.reviewer}: {summary(decision, names)}" + (f" ({decision.note})" if decision.note else "")


def queue(rows: Sequence[QueueRow], place: int, decided: int, total: int) -> str:
    """The part of the queue around the question at `place`. decided: questions with a decision, of `total`."""
    return render("review/queue.html", rows=rows, place=place, decided=decided, total=total)


def progress(log: IndexedLog, decided: int, total: int, names: Mapping[int, str]) -> str:
    """Questions decided, everybody's decisions by verdict, agreement, and disagreements with a button for each side."""
    reviewers = [(name, counts, log.seconds(name)) for name, counts in log.verdict_counts.items()]
    disagreements = [
        (disagreement.video_id, [(decision.id, describe(decision, names)) for decision in disagreement.decisions])
        for disagreement in log.disagreements
    ]
    return render(
        "review/progress.html",
        decided=decided,
        total=total,
        lines=lines_in_words(log),
        agreements=log.agreements,
        reviewers=reviewers,
        verdicts=VERDICTS,
        disagreements=disagreements,
        max_rows=MAX_ROWS,
    )


def comparison(models: Sequence[ModelComparison], decisions: int) -> str:
    """AP of each model with both versions of the labels."""
    rows = [(model.name, *model.figures()["AP"]) for model in models]
    return render("review/comparison.html", models=rows, decisions=decisions)


def messages(title: str, sentences: Sequence[str] = ()) -> str:
    """A title with a list of sentences."""
    return render("review/messages.html", groups=[(title, sentences, 20)])


def import_report(
    title: str, applicable: Sequence[Decision], not_applicable: Sequence[str], names: Mapping[int, str]
) -> str:
    """What of an imported log can be taken over, before anything is."""
    groups = [(f"{title} Nothing was taken.", [], 0)]
    if not_applicable:
        groups.append(("Does not fit:", list(not_applicable), 20))
    if applicable:
        groups.append(("Fits:", [describe(decision, names) for decision in applicable], 8))
    return render("review/messages.html", groups=groups)
