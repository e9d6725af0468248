"""Results of a review: corrected labels, the report of changes, the log, and AP before and after; and imported logs."""

from dataclasses import dataclass
from pathlib import Path

from tevit.evaluation import evaluate
from tevit.io.ytvis import open_dataset
from tevit.progress import Progress
from tevit.review.apply import Corrected, check_applicable, correct, other_versions
from tevit.review.decisions import Decision, parse_log
from tevit.review.report import ModelComparison, write_corrected, write_report

from .session import ReviewSession


def _correct(session: ReviewSession) -> tuple[Corrected, tuple[Decision, ...]]:
    """The labels with all that fits applied, and the log. Raises: OSError, ValueError."""
    log = session.store.decisions()
    return correct(session.original, log, only_fitting=True), log


def write_file(name: str, session: ReviewSession, folder: Path) -> list[str]:
    """Write one of the tab's files into the folder; returns what was not applied, and why.

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
    return corrected.not_applied()


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
    others do not, a sentence each. other_versions: hashes of other labels -> number of decisions made for them.
    conflicts: ids with other content in the project's log.
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
    """Check a log against the labels and the project's log. Raises: ValueError with the faulty lines."""
    decisions = tuple(parse_log(data, name))
    known = {decision.id: decision for decision in session.store.decisions()}
    new = tuple(decision for decision in decisions if decision.id not in known)
    conflicts = tuple(decision.id for decision in decisions if known.get(decision.id, decision) != decision)
    applicable, not_applicable = new, []
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
