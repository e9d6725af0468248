"""The tab Errors: `views` has its components, HTML and addresses (thumbnails, files, plotly.js), `charts` how
charts are drawn, `events` the handlers.
"""
