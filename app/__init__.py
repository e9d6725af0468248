"""The studio: a Gradio page with the tabs Segment, Compare, Errors, Review and Datasets, and the server behind it."""
