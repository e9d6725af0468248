"""The HTML of the place `data set`: notices with category mappings, open data sets, and the state of a prediction."""

from collections.abc import Iterable, Sequence

from ...projects.project import CategoryMapping, Project, category_mappings
from ...rendering import progress, render
from .predicting import DatasetTask, PartialPredictions


def notices(project: Project) -> str:
    """What is missing or unusual, with buttons to use or undo a category mapping."""
    shown = []
    for notice in project.notices:
        offered = notice.kind == "categories" and notice.model is not None
        shown.append((notice, best_mapping(project, notice.model or "") if offered else None))
    mapped = [(m.name, len(set(m.categories.values()))) for m in project.models if m.categories is not None]
    return render("datasets/notices.html", notices=shown, mapped=mapped, categories=project.dataset.categories)


def best_mapping(project: Project, model: str) -> CategoryMapping | None:
    """The mapping by name with which most of a model's predictions count; None where none does."""
    results = project.results[project.model_index(model)]
    return next(iter(category_mappings(results, project.dataset.categories)), None)


def open_datasets(projects: Iterable[Project], current: Project) -> str:
    """The open data sets, each a link."""
    return render("datasets/open.html", projects=projects, current=current)


def allowed_folders(complete: bool, folders: Sequence[object]) -> str:
    """Where the listed files are. complete: whether all could be listed."""
    return render("datasets/folders.html", complete=complete, folders=folders)


def prediction(task: DatasetTask | None, ahead: int, partial: Iterable[PartialPredictions], total: int) -> str:
    """The state of the data set's task; without one what can be resumed. total: videos of the data set."""
    status = task.status(ahead) if task else None
    return render(
        "datasets/prediction.html",
        task=task,
        status=progress(status) if status else "",
        done=status is not None and status.state == "done",
        partial=[(results.request.name, len(results.finished)) for results in partial],
        total=total,
    )
