"""The video player: its Gradio component, the payload for the browser, HTTP routes, and browser-ready copies of
videos.
"""
