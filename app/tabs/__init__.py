"""One folder for each tab of the studio, with its layout, callbacks, views and state."""
