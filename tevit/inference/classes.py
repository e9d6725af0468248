"""Matching of a model's classes with those of a data set, by name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tevit.configs import fold_name
from tevit.results import VideoResult


@dataclass(frozen=True)
class ClassMap:
    """ids: category id of the model -> id to write; classes without one are left out. categories: id -> name of all
    that are written. notes: what differs, a sentence each."""

    ids: Mapping[int, int]
    categories: Mapping[int, str]
    notes: tuple[str, ...] = ()

    def apply(self, result: VideoResult) -> VideoResult:
        """A model's result with the ids to write, without the tracks of classes that are left out."""
        tracks = tuple(
            replace(track, category_id=self.ids[track.category_id])
            for track in result.tracks
            if track.category_id in self.ids
        )
        return replace(result, tracks=tracks, categories=self.categories)


def match_classes(
    model: Mapping[int, str],
    dataset: Mapping[int, str],
    overrides: Mapping[str, str | int] | None = None,
    *,
    numbered: bool = True,
) -> ClassMap:
    """Map a model's categories (id -> name) to a data set's.

    By name; where no name agrees the numbers are kept, which a note says. A class of the model that the data set does
    not have keeps its number, or is left out where that belongs to another class. overrides: name of a model's class ->
    name or id of the data set's, for classes whose names differ. numbered: False where the model's numbers mean
    nothing, and `model` has only the classes that have appeared: one without an equal name is left out.

    Raises: ValueError for an override that names a class which the model or the data set does not have.
    """
    ids = _ids_of_names(model, dataset)
    if not numbered:
        names = {fold_name(name) for name in model.values()}
        ids |= _override(model, dataset, {k: v for k, v in (overrides or {}).items() if fold_name(k) in names})
        left_out = [name for id, name in model.items() if id not in ids]
        text = "classes of the model left out, since the data set does not have them"
        return ClassMap(ids, dataset, (f"{text}: {_list(left_out)}",) if left_out else ())
    ids |= _override(model, dataset, overrides or {})
    if not ids:
        common = model.keys() & dataset.keys()
        note = (
            f"no class of the model has a name of the data set ({_names(model)} against {_names(dataset)}): "
            f"classes are matched by number, {len(common)} of {len(model)} agree"
        )
        return ClassMap({id: id for id in model}, {**model, **dataset}, (note,))
    other = {id: name for id, name in model.items() if id not in ids and id not in dataset}
    notes = _differences(model, dataset, ids)
    return ClassMap(ids | {id: id for id in other}, {**other, **dataset}, notes)


def _ids_of_names(model: Mapping[int, str], dataset: Mapping[int, str]) -> dict[int, int]:
    """Category id of the model -> the data set's of the same name; of several that differ in case, spaces or
    underscores alone the one that is written the same, else the first."""
    exact = {name: id for id, name in reversed(list(dataset.items()))}
    folded = {fold_name(name): id for id, name in reversed(list(dataset.items()))}
    matches = {id: exact.get(name, folded.get(fold_name(name))) for id, name in model.items()}
    return {id: other for id, other in matches.items() if other is not None}


def _alike(categories: Mapping[int, str]) -> list[str]:
    """The classes, with their ids, whose names another one has, but for case, spaces and underscores."""
    counts = Counter(fold_name(name) for name in categories.values())
    return [f"{name} {id}" for id, name in categories.items() if counts[fold_name(name)] > 1]


def _differences(model: Mapping[int, str], dataset: Mapping[int, str], ids: Mapping[int, int]) -> tuple[str, ...]:
    """Sentences on what is not the same class under the same number on both sides."""
    moved = [f"{model[id]} {id} -> {ids[id]}" for id in ids if ids[id] != id]
    renamed = [
        f"{model[id]} as {dataset[ids[id]]}" for id in ids if fold_name(model[id]) != fold_name(dataset[ids[id]])
    ]
    missing = {id: name for id, name in model.items() if id not in ids}
    lists = {
        "classes are matched by name, not by number": moved,
        "classes of the data set with one name, of which only one is written": _alike(dataset),
        "classes of the model with one name, which become one class": _alike(model),
        "classes of other names, by the class map": renamed,
        "classes of the model left out, since their numbers are other classes of the data set": [
            name for id, name in missing.items() if id in dataset
        ],
        "classes of the model that the data set does not have": [
            name for id, name in missing.items() if id not in dataset
        ],
        "classes of the data set that the model does not have": [
            name for id, name in dataset.items() if id not in ids.values()
        ],
    }
    return tuple(f"{text}: {_list(names)}" for text, names in lists.items() if names)


def _override(
    model: Mapping[int, str], dataset: Mapping[int, str], overrides: Mapping[str, str | int]
) -> dict[int, int]:
    of_model = {fold_name(name): id for id, name in model.items()}
    of_dataset = {fold_name(name): id for id, name in dataset.items()}
    ids = {}
    for source, target in overrides.items():
        if fold_name(source) not in of_model:
            raise ValueError(f"class map: the model has no class {source!r}; it has {_names(model)}")
        id = target if isinstance(target, int) else of_dataset.get(fold_name(target))
        if id not in dataset:
            raise ValueError(f"class map: the data set has no class {target!r}; it has {_names(dataset)}")
        ids[of_model[fold_name(source)]] = id
    return ids


def _names(categories: Mapping[int, str]) -> str:
    return _list(list(categories.values()))


def _list(items: list[str]) -> str:
    return ", ".join(items[:6]) + (f" and {len(items) - 6} more" if len(items) > 6 else "")
