"""Damage to files, drawn from a random generator: the same seed gives the same damage."""

import json
import random
from collections.abc import Iterator
from typing import Any

WRONG: tuple[Any, ...] = (
    None, True, "", "text", "\ud800", -1, 0, 1, 0.5, -0.0, 1e308, 10**19, 10**30, -(10**30), 2**63, 2**31,
    [], [None], [[]], [1] * 7, [10**19, 10**19], {}, {"a": 1}, "9" * 5000, "../../etc/passwd", "\x00",
)  # fmt: skip
"""One value of each type, and numbers beyond those of 32 and 64 bits."""
Place = tuple[str | int, ...]


def places(value: Any, before: Place = ()) -> Iterator[Place]:
    """The places of all values in JSON."""
    yield before
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*before, key))


def fields(value: Any) -> Iterator[Place]:
    """One place for each field: of the values in a list the first of its kind."""
    seen = set()
    for place in places(value):
        kind = tuple("[]" if isinstance(key, int) else key for key in place)
        if kind not in seen:
            seen.add(kind)
            yield place


def replaced(value: Any, place: Place, wrong: Any) -> Any:
    """A copy of a JSON value with another one at a place."""
    if not place:
        return wrong
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(copy[place[0]], place[1:], wrong)
    return copy


def without(value: Any, place: Place) -> Any:
    """A copy of a JSON value that lacks a field or an item."""
    if len(place) == 1:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        remaining = [(key, item) for key, item in items if key != place[0]]
        return dict(remaining) if isinstance(value, dict) else [item for _, item in remaining]
    return replaced(value, place[:1], without(value[place[0]], place[1:]))


def encoded(value: Any) -> bytes:
    """JSON bytes; a lone surrogate becomes bytes that are no UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def damaged_json(data: bytes, draw: random.Random) -> bytes:
    """One to three values replaced or removed; bytes that are no JSON are damaged as bytes."""
    try:
        value = json.loads(data)
    except ValueError:
        return damaged_bytes(data, draw)
    for _ in range(draw.randint(1, 3)):
        chosen = draw.choice(list(places(value)))
        if chosen and draw.random() < 0.2:
            value = without(value, chosen)
        else:
            value = replaced(value, chosen, draw.choice(WRONG))
    return encoded(value)


def damaged_bytes(data: bytes, draw: random.Random) -> bytes:
    """One to eight changes: bytes replaced, cut, repeated, zeroed, or a number in 32 bits made extreme."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        kind, at = draw.choice("bbbbcrzwt"), draw.randrange(len(changed) + 1)
        length = draw.choice((1, 2, 4, 16, 256))
        if kind == "b" and at < len(changed):
            changed[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        elif kind == "c":
            del changed[at : at + length]
        elif kind == "r":
            changed[at:at] = changed[at : at + length]
        elif kind == "z":
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        elif kind == "w":
            changed[at : at + 4] = draw.choice(
                (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x01\x00\x00")
            )
        elif draw.random() < 0.3:
            del changed[at:]
    return bytes(changed)
