"""What the tab Review says: the question as the page takes it, and queue, progress and what came of it as HTML."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from app.tabs.review.log_state import IndexedLog
from tevit.masks import ops as masks
from tevit.results import Track, VideoResult
from tevit.review import Disagreement
from tevit.review.decisions import VERDICTS, Decision, Verdict
from tevit.review.log import summary
from tevit.review.queue import Answer, ReviewItem
from tevit.review.report import ModelComparison

AROUND = 40  # rows of the queue before and after the one that is shown: the page stays small however long it is
NOTHING_MADE = '<p class="hint">AP by the original and by the corrected labels: not worked out yet.</p>'


def notices(sentences: Sequence[str]) -> str:
    """What must not be overlooked."""
    return "".join(f'<p class="problem" role="alert">{escape(sentence)}</p>' for sentence in sentences)


def buttons(answers: Mapping[str, Answer]) -> list[dict[str, str]]:
    """The answers as the page shows them."""
    return [{"key": key, "label": choice.label, "verdict": choice.verdict} for key, choice in answers.items()]


def sides(item: ReviewItem, truths: VideoResult | None, found: VideoResult | None) -> list[dict[str, str]]:
    """What labels and prediction say about the object: one line each, and how they overlap."""
    labels = [track for id in item.annotation_ids if (track := _track(truths, id))]
    said = [_side("Ground truth", track, truths, item.frame) for track in labels]
    prediction = _track(found, item.prediction)
    if prediction is not None:
        said.append(_side("Prediction", prediction, found, item.frame))
    if labels and prediction is not None:
        said.append({"name": "IoU", "text": overlap(labels[0], prediction, item.frame)})
    return said


def _track(result: VideoResult | None, id: int | None) -> Track | None:
    return next((track for track in result.tracks if track.id == id), None) if result and id is not None else None


def _side(name: str, track: Track, result: VideoResult | None, frame: int) -> dict[str, str]:
    assert result is not None
    words = [f"{track.id} {result.categories.get(track.category_id, f'class {track.category_id}').replace('_', ' ')}"]
    if name == "Prediction":
        words.append(f"score {track.score:.2f}")
    seen = np.flatnonzero(track.present)
    count = f"{len(seen)} frame{'' if len(seen) == 1 else 's'}"
    words.append(f"{count}, {seen[0]} to {seen[-1]}" if len(seen) else "no frames")
    if not track.present[frame]:
        words.append(f"not in frame {frame}")
    return {"name": name, "text": " · ".join(words)}


def overlap(label: Track, prediction: Track, frame: int) -> str:
    """IoU over the whole track and in one frame."""
    whole = masks.track_iou(label.rles, prediction.rles)
    there = masks.track_iou([label.rles[frame]], [prediction.rles[frame]])
    return f"{whole:.2f} over the track · {there:.2f} in frame {frame}"


def words_of(decision: Decision, names: Mapping[int, str]) -> str:
    """Who said what."""
    return f"{decision.reviewer}: {summary(decision, names)}" + (f" ({decision.note})" if decision.note else "")


# --- the queue


def queue(
    rows: Sequence[tuple[int, ReviewItem, str, str]], place: int, done: int, total: int, rest: tuple[int, int]
) -> str:
    """rows: (place, item, video's name, who decided) of those around `place`. rest: items before and after them."""
    head = f'<div class="title"><strong>Queue</strong><span>{done} of {total} decided</span></div>'
    before, after = (f'<li class="hint">{n} more</li>' if n else "" for n in rest)
    body = "".join(_row(number, item, video, by, number == place) for number, item, video, by in rows)
    return f'{head}<ol class="tracks queue">{before}{body}{after}</ol>'


def _row(place: int, item: ReviewItem, video: str, by: str, here: bool) -> str:
    mark = f'<span class="score" title="decided by {escape(by, quote=True)}">✓ {escape(by)}</span>' if by else ""
    done = " data-done" if by else ""
    return (
        f'<li><button type="button" data-place="{place}" aria-pressed="{str(here).lower()}"{done}>'
        f'<span class="name">{place + 1}. {escape(item.question)}</span>{mark}'
        f'<span class="where">{escape(item.kind)} · {escape(video)}, frame {item.frame}</span></button></li>'
    )


# --- progress


def progress(ledger: IndexedLog, done: int, total: int) -> str:
    """How far the queue is, and everybody's decisions by verdict."""
    share = 100 * done / total if total else 0
    bar = (
        f'<div class="bar" role="progressbar" aria-label="decided" aria-valuemin="0" aria-valuemax="{total}" '
        f'aria-valuenow="{done}"><i style="width:{share:.1f}%"></i></div>'
    )
    counts, sum_of = ledger.verdict_counts, Counter[Verdict]()
    for own in counts.values():
        sum_of.update(own)
    said = _counted(sum(sum_of.values()), "decision") + " by " + _counted(len(counts), "reviewer")
    head = f'<div class="title"><strong>{done} of {total} decided</strong><span>{said}</span></div>'
    return head + bar + _tally(ledger, counts)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _tally(ledger: IndexedLog, counts: Mapping[str, Counter[Verdict]]) -> str:
    if not counts:
        return '<p class="hint">Nobody has decided anything yet.</p>'
    head = "".join(f"<th>{escape(verdict)}</th>" for verdict in VERDICTS)
    body = "".join(_reviewer(name, own, ledger.seconds(name)) for name, own in counts.items())
    return f'<table class="tally"><tr><th class="text">reviewer</th>{head}<th>time per item</th></tr>{body}</table>'


def _reviewer(name: str, counts: Counter[Verdict], seconds: float | None) -> str:
    cells = "".join(f"<td>{counts[verdict] or ''}</td>" for verdict in VERDICTS)
    time = "" if seconds is None else f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f'<tr><td class="text">{escape(name)}</td>{cells}<td>{time}</td></tr>'


def disagreements(found: Sequence[Disagreement], names: Mapping[int, str]) -> str:
    """What reviewers do not agree about: each has a button for either side."""
    if not found:
        return ""
    items = "".join(_disagreement(item, names) for item in found[:AROUND])
    objects = "one object" if len(found) == 1 else f"{len(found)} objects"
    said = f"Reviewers disagree about {objects}: there the label stays as it was"
    return f'<div class="title"><strong>{said}</strong></div><ul class="disagreements">{items}</ul>'


def _disagreement(found: Disagreement, names: Mapping[int, str]) -> str:
    sides = "".join(
        f'<li>{escape(words_of(d, names))} <button type="button" data-keep="{escape(d.id, quote=True)}">'
        "Keep this one</button></li>"
        for d in found.decisions
    )
    return f"<li>Video {found.video_id}<ul>{sides}</ul></li>"


# --- what came of it


CANCELLED = '<p class="hint">Cancelled: AP is not worked out.</p>'


def take(fitting: int, unfit: int) -> str:
    """What the button says that takes what fits of a log."""
    return f"Take only the {fitting} that fit" if unfit else f"Take these {fitting}"


def fits(title: str, fitting: Sequence[Decision], unfit: Sequence[str], names: Mapping[int, str]) -> str:
    """What of a log fits and what does not; nothing of it is taken yet."""
    said = [words_of(decision, names) for decision in fitting]
    return (
        lines(f"{title} Nothing was taken.", ())
        + (lines("Does not fit:", unfit) if unfit else "")
        + (lines("Fits:", said, 8) if said else "")
    )


def compared(models: Sequence[ModelComparison], decisions: int) -> str:
    """AP of each model by both versions of the labels."""
    rows = "".join(_model(model) for model in models)
    head = "<tr><th class='text'>AP</th><th>original</th><th>corrected</th><th>change</th></tr>"
    return f'<table class="tally">{head}{rows}</table><p class="hint">By the first {decisions} decisions.</p>'


def _model(model: ModelComparison) -> str:
    before, after = model.figures()["AP"]
    known = before >= 0 and after >= 0
    cells = [f"{100 * ap:.1f}" if ap >= 0 else "none" for ap in (before, after)]
    change = f"{100 * (after - before):+.1f}" if known else ""
    return f'<tr><td class="text">{escape(model.name)}</td><td>{cells[0]}</td><td>{cells[1]}</td><td>{change}</td></tr>'


def working(words: str, share: float) -> str:
    """Something goes on: how far it is."""
    return (
        f'<p class="hint">{escape(words)}, {100 * share:.0f} %</p><div class="bar" role="progressbar" '
        f'aria-valuenow="{100 * share:.0f}"><i style="width:{100 * share:.0f}%"></i></div>'
    )


def lines(title: str, sentences: Sequence[str], most: int = 20) -> str:
    """A few sentences below one another."""
    if not sentences:
        return f'<p class="hint">{escape(title)}</p>'
    shown = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences[:most])
    more = f"<li>and {len(sentences) - most} more</li>" if len(sentences) > most else ""
    return f'<p class="hint notice">{escape(title)}</p><ul class="hint">{shown}{more}</ul>'
