"""The categories of the public data sets: id -> name, ids from 1 in the order of the releases."""

_YTVIS_2019 = """person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat cow fish
train horse turtle bear motorbike giraffe leopard fox deer owl surfboard airplane truck zebra tiger elephant snowboard
boat shark mouse frog eagle earless_seal tennis_racket"""

_YTVIS_2021 = """airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc fox frog
giant_panda giraffe horse leopard lizard monkey motorbike mouse parrot person rabbit shark skateboard snake snowboard
squirrel surfboard tennis_racket tiger train truck turtle whale zebra"""

_OVIS = """Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra Giraffe Poultry Giant_panda Lizard Parrot Monkey
Rabbit Tiger Fish Turtle Bicycle Motorcycle Airplane Boat Vehical"""

CATEGORIES_2019 = dict(enumerate(_YTVIS_2019.split(), 1))
CATEGORIES_2021 = dict(enumerate(_YTVIS_2021.split(), 1))
"""YouTube-VIS 2021 and 2022."""
CATEGORIES_OVIS = dict(enumerate(_OVIS.split(), 1))
"""The spelling "Vehical" is that of OVIS."""

_COCO = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell
phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"""

CATEGORIES_COCO = dict(enumerate(_COCO.replace("\n", " ").split(", "), 1))
"""Consecutive labels of a detector; COCO's own ids have gaps."""
