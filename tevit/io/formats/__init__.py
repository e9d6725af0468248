"""Annotation formats of other tools, each read into and written from `VideoResult`; `convert` chooses among them.

COCO and TAO JSON, CVAT's XML for images and for video, DAVIS' palette PNGs, MOTS text, BURST JSON, Label Studio's JSON.
"""
