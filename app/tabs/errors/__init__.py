"""The tab Errors: layout, events and HTML of figures, charts, filter and list; the choices of a page as a value; the
routes of its pictures, files and plotly.js.
"""
