"""The tab Errors: `views` has its components and HTML, `events` the handlers; `routes` its addresses: the settings as a
query, and the routes of thumbnails, files and plotly.js.
"""
