"""Category lists that do not fit: a mapping by name is offered, and applied to a copy in memory."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tevit.configs import CATEGORIES_2019, CATEGORIES_2021, CATEGORIES_COCO, CATEGORIES_OVIS
from tevit.io import json as jsonfile
from tevit.io.ytvis import Category, Results

LISTS: Mapping[str, Mapping[int, str]] = {
    "YouTube-VIS 2019": CATEGORIES_2019,
    "YouTube-VIS 2021": CATEGORIES_2021,
    "OVIS": CATEGORIES_OVIS,
    "COCO": CATEGORIES_COCO,
}
NO_CLASS = -(1 << 40)  # an id that no list has: such a prediction counts as of an unknown class and keeps its place


@dataclass(frozen=True)
class Offer:
    """How predictions' classes could be read. source: whose list the ids would be of. categories: its ids -> the
    ground truth's, by name. lost: names that the ground truth lacks. predictions: how many would count, of `of`.
    names: of the ids that the predictions have, by `source`."""

    source: str
    names: Mapping[int, str]
    categories: Mapping[int, int]
    lost: tuple[str, ...]
    predictions: int
    of: int

    @property
    def used(self) -> Mapping[int, int | None]:
        """Ids of the predictions -> the ground truth's, None where it lacks the name."""
        return {id: self.categories.get(id) for id in self.names}


def unknown(results: Results, categories: Mapping[int, str]) -> list[int]:
    """Category ids of the predictions that the ground truth does not list."""
    return sorted({prediction.category_id for prediction in results.predictions} - categories.keys())


def offers(
    results: Results, categories: Mapping[int, str], lists: Mapping[str, Mapping[int, str]] = LISTS
) -> list[Offer]:
    """Lists that know all of the predictions' ids and share names with the ground truth; what saves most comes first.

    categories: the ground truth's, id -> name. lists: name -> id -> name.
    """
    counts = Counter(prediction.category_id for prediction in results.predictions)
    known = {name: names for name, names in lists.items() if counts.keys() <= names.keys()}
    found = [_offer(source, names, categories, counts) for source, names in known.items()]
    return sorted((offer for offer in found if offer.predictions), key=lambda offer: -offer.predictions)


def _offer(source: str, names: Mapping[int, str], categories: Mapping[int, str], counts: Counter[int]) -> Offer:
    ids = {_plain(name): id for id, name in categories.items()}
    mapping = {id: ids[_plain(name)] for id, name in names.items() if _plain(name) in ids}
    lost = tuple(names[id] for id in sorted(counts) if id not in mapping)
    used = {id: names[id] for id in sorted(counts)}
    return Offer(source, used, mapping, lost, sum(n for id, n in counts.items() if id in mapping), counts.total())


def _plain(name: str) -> str:
    """Spelling that the lists do not agree on."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def apply(results: Results, categories: Mapping[int, int]) -> Results:
    """A copy with the classes of a mapping; what is not in it becomes NO_CLASS, so that places in the file stay."""
    changed = [
        msgspec.structs.replace(prediction, category_id=categories.get(prediction.category_id, NO_CLASS))
        for prediction in results.predictions
    ]
    return Results(results.path, changed)


class _Named(msgspec.Struct):
    categories: Sequence[Category]


def names_of(path: str | os.PathLike) -> dict[int, str]:
    """The category list of any JSON that has one, the training set's for instance. Raises: OSError, ValueError."""
    found: _Named = jsonfile.decode(jsonfile.read(path), _Named, path)
    return {category.id: category.name for category in found.categories}
