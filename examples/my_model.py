"""A model of one's own in few lines: moving regions by OpenCV's background subtraction, tracked by overlap.

tevit predict street.mp4 --model examples/my_model.py --out out -p min_area=0.002
"""

import cv2
import numpy as np

from tevit import Instance


class MyModel:
    classes, delay = ["moving object"], 0  # the result of a frame is returned before the next one is read

    def __init__(self, min_area: float = 0.001, history: int = 50):
        """min_area: share of the frame."""
        self.min_area, self.history = min_area, history

    def predict(self, frames):
        subtractor = cv2.createBackgroundSubtractorMOG2(self.history, varThreshold=30, detectShadows=False)
        tracks, count = {}, 0  # id -> mask in the frame before
        for frame in frames:
            moving = cv2.medianBlur(subtractor.apply(cv2.GaussianBlur(frame, (5, 5), 0)), 5)
            moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
            _, labels, stats, _ = cv2.connectedComponentsWithStats(moving)
            areas, before, tracks = stats[1:, cv2.CC_STAT_AREA], tracks, {}
            for label in 1 + np.flatnonzero(areas > self.min_area * moving.size):
                mask = labels == label
                common = {id: (mask & other).sum() for id, other in before.items() if id not in tracks}
                id = max(common, key=lambda id: common[id], default=None)
                if id is None or not common[id]:
                    id = count = count + 1
                tracks[id] = mask
            yield {id: Instance("moving object", 0.5, mask) for id, mask in tracks.items()}


create = MyModel
