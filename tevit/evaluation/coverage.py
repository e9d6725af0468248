"""Which predictions cover a truth, frame by frame: where identities change, and where tracks break."""

from dataclasses import dataclass

import numpy as np

from tevit.evaluation.overlaps import VideoPairs


@dataclass(frozen=True, eq=False)
class Coverage:
    """Of one video with G truths and D predictions.

    switches: for each truth, the frames at which another prediction takes over. switchers: bool (D,), predictions that
    take part in such a change. broken: bool (G,), truths that are covered, then not, then again, by any prediction.
    broken_by: bool (D, G), the same by one prediction alone.
    """

    switches: list[tuple[int, ...]]
    switchers: np.ndarray
    broken: np.ndarray
    broken_by: np.ndarray


def coverage(pairs: VideoPairs, frame_ious: np.ndarray, least: float) -> Coverage:
    """frame_ious: float32 (D, G, T). least: frame IoU from which a prediction covers a truth.

    The best of several is that of highest frame IoU; of equal ones that of highest score, so that copies of one track
    do not take turns.
    """
    covers = (frame_ious >= least) & (pairs.common > 0)
    switches, switchers = [], np.zeros(len(pairs.predictions), bool)
    broken, broken_by = [], np.zeros(covers.shape[:2], bool)
    for g, areas in enumerate(pairs.truth_areas):
        best = np.argmax(np.where(covers[:, g], frame_ious[:, g], -1), axis=0) if len(covers) else areas
        frames = np.flatnonzero(covers[:, g].any(axis=0))
        changes = np.flatnonzero(np.diff(best[frames])) + 1
        switches.append(tuple(frames[changes].tolist()))
        switchers[best[frames] if len(changes) else []] = True
        seen = covers[:, g][:, areas > 0]
        broken.append(bool(_broken(np.logical_or.reduce(seen, axis=0, keepdims=True))[0]))
        broken_by[:, g] = _broken(seen)
    return Coverage(switches, switchers, np.array(broken, bool), broken_by)


def _broken(covered: np.ndarray) -> np.ndarray:
    """covered: bool (n, T), in the frames in which the truth is there. bool (n,): covered, then not, then again."""
    begins = covered[:, 1:] & ~covered[:, :-1]
    return covered[:, :1].sum(axis=1) + begins.sum(axis=1) > 1


def resumptions(
    pairs: VideoPairs, frame_ious: np.ndarray, least: float
) -> tuple[list[list[int]], list[list[list[int]]]]:
    """The frames at which coverage begins again after it had stopped: of each truth by any prediction, and
    [prediction][truth] by one alone. Frames in which the truth is absent are no stop. Arguments as of `coverage`."""
    covers = (frame_ious >= least) & (pairs.common > 0)
    seen = [np.flatnonzero(areas > 0) for areas in pairs.truth_areas]
    by_any = [_again(np.logical_or.reduce(covers[:, g], axis=0), frames) for g, frames in enumerate(seen)]
    return by_any, [[_again(own[g], frames) for g, frames in enumerate(seen)] for own in covers]


def _again(covered: np.ndarray, frames: np.ndarray) -> list[int]:
    """covered: bool (T,). frames: those that count."""
    begins = frames[np.diff(covered[frames], prepend=False) & covered[frames]]
    return begins[1:].tolist()
