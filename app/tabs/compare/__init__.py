"""The tab Compare: one video with ground truth and models side by side, its matches, their IoU and filmstrips."""
