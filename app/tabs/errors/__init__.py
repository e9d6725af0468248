"""The tab Errors: its layout and callbacks, the HTML of figures, charts, filter and list, and its addresses: a page's
settings as a query, and the routes of thumbnails, files and plotly.js.
"""
