"""The tab Compare: `views` has its components and HTML, `events` the handlers."""
