"""What the page's head says of data sets, as HTML: what is odd about one, which are open, how a prediction goes on."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from app.projects.partial import PartialPredictions
from app.projects.project import CategoryMapping, Model, Project, category_mappings
from app.rendering import progress
from app.tabs.datasets.predicting import Predicting

CLOSED = 'No folder is open to the page: start the studio with "--allow FOLDER" to open more data sets from here.'


def does(**said: Any) -> str:
    """An attribute: what a press on the element asks of the data set."""
    return f'data-dataset="{escape(json.dumps(said), quote=True)}"'


def notices(project: Project) -> str:
    """What is missing or odd, and what can be done about it."""
    said = [f"{escape(notice.text)}{_offered(project, notice)}" for notice in project.notices]
    said += [_mapped(project, model) for model in project.models if model.categories is not None]
    return "".join(f'<p class="hint notice">{text}</p>' for text in said)


def _offered(project: Project, notice) -> str:
    if notice.kind != "categories" or notice.model is None:
        return ""
    offer = offer_of(project, notice.model)
    if offer is None:
        return ""
    button = f'<button type="button" {does(do="map", model=notice.model)}>Use this mapping</button>'
    return f" {button}{_table(project, offer)}"


def offer_of(project: Project, model: str) -> CategoryMapping | None:
    """The mapping by name that saves most of a model's predictions; None where none does."""
    found = category_mappings(project.results[project.model_index(model)], project.dataset.categories)
    return next(iter(found), None)


def _table(project: Project, offer: CategoryMapping) -> str:
    """Of the classes that the predictions have."""
    names = project.dataset.categories
    rows = "".join(
        f"<li>{id} {escape(offer.names.get(id, ''))} → {f'{to} {escape(names[to])}' if to else 'no class'}</li>"
        for id, to in ((id, offer.categories.get(id)) for id in offer.names)
    )
    return f"<details><summary>{len(offer.names)} classes</summary><ul>{rows}</ul></details>"


def _mapped(project: Project, model: Model) -> str:
    to = len(set((model.categories or {}).values()))
    text = f"{model.name}: its classes are read by name, {to} of the data set's {len(project.dataset.categories)}."
    button = f'<button type="button" {does(do="unmap", model=model.name)}>Undo the mapping</button>'
    return f"{escape(text)} {button}"


def opened(projects: Iterable[Project], current: Project) -> str:
    """The data sets that are open, each a link to itself."""
    return f'<ul class="datasets" aria-label="Open data sets">{"".join(_open(it, current) for it in projects)}</ul>'


def _open(project: Project, current: Project) -> str:
    here = ' aria-current="page"' if project.id == current.id else ""
    models = ", ".join(model.name for model in project.models) or "no predictions"
    return (
        f'<li><a href="?{urlencode({"data": project.id})}" data-open{here}><strong>{escape(project.name)}</strong>'
        f"<span>{escape(models)}</span></a></li>"
    )


def places(whole: bool, folders: Sequence[object]) -> str:
    """What the lists are of."""
    if not folders:
        return f'<p class="hint">{escape(CLOSED)}</p>'
    more = "" if whole else " There is more than could be looked through: a path can be typed, too."
    return f'<p class="hint">Files below {escape(", ".join(map(str, folders)))}.{more}</p>'


def predicting(job: Predicting | None, ahead: int, kept: Iterable[PartialPredictions], total: int) -> str:
    """How far a prediction is; else what can go on."""
    if job is None:
        said = [
            f"{parts.request.name}: {len(parts.finished)} of {total} videos are kept, and can go on." for parts in kept
        ]
        return "".join(f'<p class="hint">{escape(text)}</p>' for text in said)
    now = job.status(ahead)
    if now.state == "done":
        show = f'<a href="?{urlencode({"data": job.project.id})}" data-open>Show them</a>'
        return f"{progress(now)}{show}"
    if now.over:
        return progress(now)
    return f'<p class="hint">{escape(job.request.name)}: {job.done} of {job.total} videos</p>{progress(now)}'
