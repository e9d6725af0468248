"""Analysis of evaluated models: `service` evaluates in the background and caches results and thumbnails; `comparison`
has the models on one error table and the matches of one video, `filter` its filters, lists and exports.
"""
