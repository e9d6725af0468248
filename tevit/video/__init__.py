"""Reading videos and image folders with PyAV and OpenCV, writing H.264, and drawing overlays."""
