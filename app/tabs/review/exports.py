"""What comes of a review: corrected labels, the report of changes, the log, AP before and after; and a log that comes
from elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from app.tabs.review.session import Reviewing
from tevit.evaluation import evaluate
from tevit.io.ytvis import open_dataset
from tevit.progress import Progress
from tevit.review.apply import Corrected, check_applicable, correct, other_versions
from tevit.review.decisions import Decision, parse_log
from tevit.review.report import ModelComparison, write_corrected, write_report

MOST_LOG_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Import:
    """A log that was read, nothing of it saved yet. new: what our log does not have; fitting: of it what fits. others:
    hashes of other labels -> how many decisions. unfit: why some do not fit, a sentence each. clash: ids that our log
    has with other content."""

    name: str
    decisions: tuple[Decision, ...]
    new: tuple[Decision, ...]
    fitting: tuple[Decision, ...]
    others: dict[str, int]
    unfit: tuple[str, ...]
    clash: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it comes to, one sentence."""
        said = f"{self.name}: {len(self.decisions)} decisions, {len(self.new)} of them new"
        if self.others:
            said += f"; {sum(self.others.values())} were made for another version of these labels"
        if self.unfit:
            said += f"; {len(self.unfit)} do not fit"
        return said + "."

    @property
    def doubtful(self) -> bool:
        """Whether a person must be asked before anything of it is taken."""
        return bool(self.others or self.unfit)


def corrected(reviewing: Reviewing) -> tuple[Corrected, tuple[Decision, ...]]:
    """The labels as the log has them by now, all that fits applied; and that log. Raises: OSError, ValueError."""
    log = reviewing.store.decisions()
    return correct(reviewing.original, log, only_fitting=True), log


def left_out(found: Corrected) -> list[str]:
    """What was not applied, and why."""
    sentences = [f"Reviewers disagree, the label is as it was: {item}" for item in found.disagreements]
    return sentences + [f"Left out: {fit}" for fit in found.left_out]


def write(name: str, reviewing: Reviewing, folder: Path) -> list[str]:
    """Write one file of what came of it into the folder; returns what was left out.

    Raises: OSError, ValueError.
    """
    if name == "decisions.jsonl":
        reviewing.store.export(folder / name)
        return []
    found, log = corrected(reviewing)
    truth = reviewing.project.truth
    assert truth is not None
    if name == "corrected.json":
        write_corrected(folder / name, found.data, (truth.path,))
    else:
        write_report(folder, truth.path, log, found, frames=reviewing.project.frames)
    return left_out(found)


def compare(reviewing: Reviewing, folder: Path, progress: Progress) -> tuple[list[ModelComparison], int]:
    """Every model by the original and by the corrected labels; and how many decisions these come of.

    Raises: OSError, ValueError; and what `progress` raises.
    """
    project = reviewing.project
    progress("correcting the labels", 0, None)
    found, log = corrected(reviewing)
    assert project.truth is not None
    write_corrected(folder / "corrected.json", found.data, (project.truth.path,))
    versions = project.dataset, open_dataset(folder / "corrected.json")
    models: list[ModelComparison] = []
    for model, results in zip(project.models, project.results, strict=True):
        pair = []
        for version, words in zip(versions, ("original", "corrected"), strict=True):

            def note(stage: str, done: int, total: int | None, said=f"{model.name} by the {words} labels") -> None:
                progress(said, done, total)

            pair.append(evaluate(version, results, progress=note))
        models.append(ModelComparison(model.name, *pair))
    return models, len(log)


def read_import(reviewing: Reviewing, data: bytes, name: str) -> Import:
    """Look at a log before anything of it is taken. Raises: ValueError with the faulty lines."""
    decisions = tuple(parse_log(data, name))
    ours = {d.id: d for d in reviewing.store.decisions()}
    new = tuple(d for d in decisions if d.id not in ours)
    clash = tuple(d.id for d in decisions if d.id in ours and ours[d.id] != d)
    others = other_versions(decisions, reviewing.original)
    fitting, unfit = _fitting(tuple(ours.values()), new, reviewing.original)
    return Import(name, decisions, new, fitting, others, unfit, clash)


def _fitting(
    ours: tuple[Decision, ...], new: tuple[Decision, ...], original: bytes
) -> tuple[tuple[Decision, ...], tuple[str, ...]]:
    """What of the new fits the labels with our log, and why the rest does not: also what needs a part of the rest."""
    unfit: list[str] = []
    while True:
        fits = check_applicable([*ours, *new], original)[len(ours) :]
        bad = [one for one in fits if not one.applicable]
        if not bad:
            return new, tuple(unfit)
        unfit += map(str, bad)
        left_out = {one.decision.id for one in bad}
        new = tuple(d for d in new if d.id not in left_out)
