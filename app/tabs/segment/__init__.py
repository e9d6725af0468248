"""The tab Segment: choosing a video and a model, runs and their results, filters and downloads.

`models` are the models that can run, also on a GPU that is lent, with their parameters; `run` has the worker with its
queue and the results, `page_state` one page and the files to download; `views` has the components and the HTML,
`events` the handlers.
"""
