"""Annotation formats of other tools: COCO JSON, CVAT's XML for images, and the conversion between all of them."""
