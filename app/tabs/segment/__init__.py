"""The tab Segment: choosing a video and a model, runs and their results, filters and downloads.

`models` are the models that can run, `gpu` runs them on a GPU that is lent, `run` has the worker with its queue, the
results and the files to download; `views` has the components and the HTML, `events` the handlers.
"""
