"""A review that begins without labels: of predictions and frames alone a data set is begun, in the project's folder."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from app.projects.project import File, Project
from tevit.io.files import atomic

BEGUN = "begun.json"


def with_labels(project: Project) -> Project:
    """The project itself where it has a data set; else with BEGUN, whose videos are those that predictions are for.

    Raises: OSError; ValueError where frames and predictions do not go together.
    """
    if project.truth is not None or not project.models:
        return project
    from tevit.review.bootstrap import begun

    path = _write(begun(project.dataset, project.frames), project.folder / BEGUN)
    stat, digest = path.stat(), hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(project, truth=File(str(path), digest, stat.st_size, stat.st_mtime_ns))


def _write(content: bytes, path: Path) -> Path:
    """Where it was written: in a folder that cannot be written, it is elsewhere for as long as the studio runs."""
    if path.is_file() and path.read_bytes() == content:
        return path
    try:
        with atomic(path) as part:
            part.write_bytes(content)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="review-"), path.name)
        path.write_bytes(content)
    return path
