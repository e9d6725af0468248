"""Run-length encoded masks: the checked decoder and encoder of COCO's run lengths, operations on masks (area, boxes,
union, IoU, also of whole tracks), and the reader of their JSON forms. No run length reaches COCO's C library unchecked.
"""
