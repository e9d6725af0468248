"""The tab Review: a queue of questions, decisions with undo and redo, corrected labels, and AP before and after.

`session` is the review of one data set, shared by all pages; `page_state` is the state of one page; `responses` checks
what the page sends; `exports` writes the results; `layout`, `views` and `events` are the components, the HTML and the
handlers. `benchmark` measures the response times.
"""
