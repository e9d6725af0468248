"""Category ids of predictions that differ from those of a data set: how they can be read, and reading them so."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tevit.configs import CATEGORIES_2019, CATEGORIES_2021, CATEGORIES_COCO, CATEGORIES_OVIS, fold_name
from tevit.io import json as jsonfile
from tevit.io.ytvis import Dataset, Results

CATEGORY_LISTS: Mapping[str, Mapping[int, str]] = {
    "YouTube-VIS 2019": CATEGORIES_2019,
    "YouTube-VIS 2021": CATEGORIES_2021,
    "OVIS": CATEGORIES_OVIS,
    "COCO": CATEGORIES_COCO,
}
NO_CLASS = -(1 << 40)  # an id in no list: the prediction counts as of an unknown class and keeps its place in the file
MapClasses = Literal["contiguous", "from-0", "from-1", "keep"]
"""Values of --map-classes. contiguous: from-0 or from-1, whichever fits. keep: as they are in the file."""
VideoCategory = tuple[int, int]
"""(video id, category id)."""


@dataclass(frozen=True)
class CategoryMapping:
    """How predictions' category ids can be read.

    source: the list that the ids belong to. names: of the ids that the predictions have, by that list. categories: the
    list's ids -> the ground truth's. lost: names that the ground truth lacks. predictions: how many would count, `of`
    all. annotated: how many would have a class that is annotated in their video. option: for --map-classes, "" for a
    list that is matched by name.
    """

    source: str
    names: Mapping[int, str]
    categories: Mapping[int, int]
    lost: tuple[str, ...]
    predictions: int
    of: int
    annotated: int = 0
    option: str = ""


# --- indices instead of ids


def index_mappings(
    predicted: Mapping[VideoCategory, int], categories: Mapping[int, str], annotated: Collection[VideoCategory] = ()
) -> list[CategoryMapping]:
    """Contiguous indices from 0 or from 1 of the sorted categories, best first, where the predictions' ids may be that.

    predicted: number of predictions of each class in each video. categories: the ground truth's, id -> name. annotated:
    classes of the ground truth in each video. Empty where the ground truth has all ids, or some are no such index.
    """
    used, ids = sorted({category for _, category in predicted}), sorted(categories)
    if all(id in categories for id in used):
        return []
    mappings, total = [], sum(predicted.values())
    for start in (0, 1):
        mapped = dict(enumerate(ids, start))
        if all(id in mapped for id in used):
            names = {id: categories[mapped[id]] for id in used}
            fitting = sum(count for (video, id), count in predicted.items() if (video, mapped[id]) in annotated)
            source = f"indices from {start} of the sorted categories"
            mappings.append(CategoryMapping(source, names, mapped, (), total, total, fitting, f"from-{start}"))
    return sorted(mappings, key=lambda mapping: -mapping.annotated)


def describe_indices(mappings: Sequence[CategoryMapping]) -> str:
    """What `index_mappings` has found, with the options that read the predictions so; "" for nothing."""
    if not mappings:
        return ""
    best = mappings[0]
    if len(mappings) == 1 or best.annotated > mappings[1].annotated:
        ids = f"{min(best.names)} to {max(best.names)}" if len(best.names) > 1 else str(min(best.names))
        text = f"the ids ({ids}) are {best.source}: --map-classes contiguous"
    else:
        text = f"the ids may be {' or '.join(m.source for m in mappings)}: --map-classes from-0 or from-1"
    return f"{text} (or --class-map FILE) reads them so"


def _choose(mappings: Sequence[CategoryMapping], option: MapClasses, path: os.PathLike) -> CategoryMapping | None:
    """The mapping of an option; None where the ids are those of the ground truth, or are kept.

    Raises: ValueError where it does not fit, or where several fit equally well.
    """
    fitting = [mapping for mapping in mappings if option in ("contiguous", mapping.option)]
    if option == "keep":
        return None
    if not fitting:
        raise ValueError(f"--map-classes {option}: the category ids of {path} are no such indices of the categories")
    if len(fitting) > 1 and fitting[0].annotated == fitting[1].annotated:
        raise ValueError(f"{path}: {describe_indices(fitting)}")
    return fitting[0]


def count_classes(results: Results) -> Counter[VideoCategory]:
    """The number of predictions of each class in each video."""
    return Counter((prediction.video_id, prediction.category_id) for prediction in results.predictions)


def annotated_classes(dataset: Dataset) -> set[VideoCategory]:
    """The classes of the annotations of each video."""
    return {(annotation.video_id, annotation.category_id) for annotation in dataset.annotations}


# --- reading predictions


def with_known_classes(
    results: Results,
    dataset: Dataset,
    map_classes: MapClasses | None = None,
    class_map: Mapping[str, str | int] | None = None,
) -> tuple[Results, list[str]]:
    """The predictions with the data set's category ids, and notes on how they were read.

    map_classes: how to read ids that the data set lacks. class_map: see `chosen_ids`.
    Raises: ValueError where nothing is chosen, although the ids are such indices or the data set has none of them.
    """
    predicted = count_classes(results)
    if class_map is not None or map_classes is not None:
        ids, source = chosen_ids(predicted, dataset, results.path, map_classes, class_map)
        if ids is None:
            return results, []
        return map_categories(results, ids), [f"the category ids are read as {source}"]
    used = {category for _, category in predicted}
    missing = sorted(used - dataset.categories.keys())
    hint = describe_indices(index_mappings(predicted, dataset.categories, annotated_classes(dataset)))
    if hint or (missing and len(missing) == len(used)):
        count = sum(number for (_, category), number in predicted.items() if category in missing)
        text = f"{results.path}: {count} of {predicted.total()} predictions have category ids that {dataset.path} lacks"
        hint = hint or "--class-map FILE gives its classes for them"
        raise ValueError(f"{text} ({format_ids(missing)}); {hint}, --map-classes keep leaves them out")
    return results, []


def chosen_ids(
    predicted: Mapping[VideoCategory, int],
    dataset: Dataset,
    path: os.PathLike,
    map_classes: MapClasses | None,
    class_map: Mapping[str, str | int] | None,
) -> tuple[dict[int, int] | None, str]:
    """Category id of the predictions -> the data set's, as options choose it, and what that is called; None: kept.

    class_map: id of the predictions, as text -> name or id of the data set's; the other ids are kept.
    Raises: ValueError for options that do not fit.
    """
    used = {category for _, category in predicted}
    if class_map is None:
        mappings = index_mappings(predicted, dataset.categories, annotated_classes(dataset))
        if not mappings and used <= dataset.categories.keys():
            return None, ""
        mapping = _choose(mappings, map_classes or "keep", path)
        return (None, "") if mapping is None else (dict(mapping.categories), mapping.source)
    by_name = {fold_name(name): id for id, name in dataset.categories.items()}
    ids = {id: id for id in used}
    for key, target in class_map.items():
        if not key.strip().removeprefix("-").isdecimal():
            raise ValueError(f"class map: expected category ids of the predictions as keys, got {key!r}")
        id = target if isinstance(target, int) else by_name.get(fold_name(target))
        if id is None or id not in dataset.categories:
            raise ValueError(f"class map: {dataset.path} has no class {target!r}")
        ids[int(key)] = id
    return ids, "the class map has them"


def read_class_map(path: str | os.PathLike) -> dict[str, str | int]:
    """A class map: a JSON object of classes and the data set's names or ids.

    Raises: OSError, ValueError where it cannot be read.
    """
    return jsonfile.decode(jsonfile.read(path), dict[str, str | int], path)


def map_categories(results: Results, categories: Mapping[int, int]) -> Results:
    """A copy with mapped category ids; ids not in the mapping become NO_CLASS, so positions in the file stay."""
    changed = [
        msgspec.structs.replace(prediction, category_id=categories.get(prediction.category_id, NO_CLASS))
        for prediction in results.predictions
    ]
    return Results(results.path, changed)


# --- all readings


def category_mappings(results: Results, dataset: Dataset) -> list[CategoryMapping]:
    """Known lists that have all ids of the predictions and share names with the ground truth, and contiguous indices.

    Best first: those with which most predictions count, then those with most classes annotated in their videos.
    """
    predicted, annotated = count_classes(results), annotated_classes(dataset)
    counts = Counter(prediction.category_id for prediction in results.predictions)
    ids = {fold_name(name): id for id, name in dataset.categories.items()}
    mappings = []
    for source, names in CATEGORY_LISTS.items():
        if counts.keys() <= names.keys():
            mapped = {id: ids[fold_name(name)] for id, name in names.items() if fold_name(name) in ids}
            used = {id: names[id] for id in sorted(counts)}
            lost = tuple(name for id, name in used.items() if id not in mapped)
            usable = sum(count for id, count in counts.items() if id in mapped)
            fitting = sum(count for (video, id), count in predicted.items() if (video, mapped.get(id)) in annotated)
            mappings.append(CategoryMapping(source, used, mapped, lost, usable, counts.total(), fitting))
    mappings += index_mappings(predicted, dataset.categories, annotated)
    possible = (mapping for mapping in mappings if mapping.predictions)
    return sorted(possible, key=lambda mapping: (-mapping.predictions, -mapping.annotated))


def format_ids(ids: Sequence[int]) -> str:
    """The first ten ids of a list, for a sentence."""
    shown = ", ".join(map(str, ids[:10]))
    return f"{shown}, … ({len(ids)} in all)" if len(ids) > 10 else shown
