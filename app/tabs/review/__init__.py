"""The tab Review: a queue of questions, decisions with undo and redo, corrected labels, and AP before and after.

`session` is the review of one data set, shared by all pages, with its imports and exports; `page_state` is the state of
one page and checks what it sends; `segmentation` computes masks and changes tracks; `views` has the components and the
HTML, `events` the handlers.
"""
