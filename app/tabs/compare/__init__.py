"""The tab Compare: its layout and callbacks, and the HTML of matches, of a pair's IoU over time and its filmstrip."""
