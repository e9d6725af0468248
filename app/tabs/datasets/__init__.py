"""The place `data set` in the page's head: open data sets, add predictions, predict all videos, map categories by name.

`events` has the components, the handlers, and the background task of predicting a data set with its partial results.
"""
