"""Downloads of an evaluation: the filtered list as CSV or JSON, the report as one HTML file."""

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, fields

from app.analysis.comparison import Comparison, ErrorRow
from app.analysis.filter import Selection, as_json
from tevit.evaluation.report import write_report


def rows(comparison: Comparison, selection: Selection) -> Iterator[ErrorRow]:
    """The rows of a selection, highest ΔAP first."""
    return (comparison.row(index) for index in selection.rows.tolist())


def as_csv(comparison: Comparison, selection: Selection) -> str:
    """A table with a head; empty cells for what is not there."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [field.name for field in fields(ErrorRow) if field.name != "key"]
    writer.writerow(names)
    writer.writerows([_cell(getattr(found, name)) for name in names] for found in rows(comparison, selection))
    return file.getvalue()


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula is quoted."""
    if isinstance(value, bool):
        return int(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def as_json_text(comparison: Comparison, selection: Selection) -> str:
    """The rows with what they were chosen by; `errors` as of ErrorRow, without its key."""
    content = {
        "data_set": comparison.project.name,
        "models": [model.name for model in comparison.models],
        "limits": asdict(comparison.limits),
        "cutoff": comparison.cutoff,
        "filter": as_json(selection.filter),
        "errors": [{k: v for k, v in asdict(found).items() if k != "key"} for found in rows(comparison, selection)],
    }
    return json.dumps(content, ensure_ascii=False, indent=1)


def report(comparison: Comparison, path: str | os.PathLike, model: int = 0) -> None:
    """One model's report at the comparison' limits as one HTML file, the same as `tevit errors --out` writes.

    Raises: OSError where it cannot be written.
    """
    found = comparison.models[model]
    write_report(path, f"Errors of {found.name}", found.evaluation, found.errors, found.gaps)
