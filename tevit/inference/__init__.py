"""From a video to tracks: windows and hard cuts, the predictor, association of windows, post-processing, and
predicting whole data sets or videos of any length.
"""
