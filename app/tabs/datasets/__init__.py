"""The place `data set` in the page's head: open data sets, add predictions, predict all videos, map categories by name.

`predicting` is the background task of predicting a data set and its partial results; `views` has the components and
the HTML, `events` the handlers.
"""
