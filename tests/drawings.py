"""A real pack behind the toy's pictures: the contract tests then run on its templates and scale.

A red square stays a face, and its green says whose. What that person looks like is a portrait,
which goes through the pack's own models: views, alignment, net, templates, similarity.
"""

import csv
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image

from drawn_packs import FIVE, draw_pack
from recollect.settings import load, models_folder
from recollect.vision.face import Face, Pose
from recollect.vision.pack import load as load_pack
from toys import ToyPack


class PackOfDrawings(ToyPack):
    """The toy's detector, and everything else of a pack that is given.

    Its name and version are the toy's, which the contract tests have in their answers.
    """

    def __init__(self, pack, portrait):
        super().__init__()
        self.pack, self.portrait = pack, portrait
        self.dimension, self.centre = pack.dimension, pack.centre
        self.false_match_rates = pack.false_match_rates
        self.similarity, self.score = pack.similarity, pack.score
        self.template = cache(self.template_of)

    def template_of(self, person):
        image, face = self.portrait(person)
        (embedded,) = self.pack.embed(image, [face])
        return embedded.template

    def embed(self, image, faces):
        return [
            replace(face, template=self.template(int(face.pose.yaw)), mirror_score=1.0)
            for face in faces
        ]


def packs(name, models, shared):
    """The packs of the contract tests' servers.

    Args:
        name: `toy`; `drawn` for a real folder of 200 dimensions, 96 px and an alignment of its
            own; or an installed pack's name, whose people then are photographs.
        models: folder in which packs may be drawn.
        shared: folder that holds the photographs.
    """
    if name == "toy":
        return {"toy": ToyPack()}
    if name == "drawn":
        pack = load_pack(draw_pack(models, "drawn", dimension=200, side_px=96))
        return {"toy": PackOfDrawings(pack, texture)}
    pack = load_pack(models_folder(load({})) / name)
    with (shared / "data" / "manifest.csv").open(newline="") as table:
        people = {row["identity"]: row["path"] for row in csv.DictReader(table)}
    paths = [shared / "data" / people[identity] for identity in sorted(people)]

    def photograph(person):
        with Image.open(paths[person]) as picture:
            image = np.asarray(picture.convert("RGB"))
        return image, pack.largest_face(image, "NONE")

    return {"toy": PackOfDrawings(pack, photograph)}


def texture(person):
    """Noise with five points in it: what random projections tell apart."""
    image = np.random.default_rng(person).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    points = FIVE * 120 + 40
    face = Face(
        box=(0.2, 0.2, 0.6, 0.6),
        confidence=99.5,
        landmarks={},
        pose=Pose(0.0, 0.0, 0.0),
        brightness=50.0,
        sharpness=50.0,
        size_px=120.0,
        points=points,
    )
    return image, face
