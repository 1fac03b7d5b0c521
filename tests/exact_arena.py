"""An index of one matrix product: what the arena has to equal, without its haste."""

import numpy as np

from recollect.gallery.ids import unpacked_all
from recollect.gallery.store import Candidate


class ExactArena:
    """The arena's interface over dictionaries."""

    def __init__(self):
        self.spaces = {}
        self.sequences = {}

    def open(self, space, dimension, centre, *, keeps_templates=True, sequence=0):
        assert space not in self.spaces
        self.spaces[space] = {}
        self.sequences[space] = sequence

    def __contains__(self, space):
        return space in self.spaces

    def need_bytes(self, dimension, rows, *, keeps_templates):
        return 4 * dimension * rows

    def held_bytes(self, space):
        return sum(template.nbytes for template in self.spaces.get(space, {}).values())

    def load(self, references):
        for space, ids, templates in references:
            self.spaces[space].update(zip(unpacked_all([ids.tobytes()]), templates, strict=True))

    def publish(self, space, sequence, added, removed):
        for i in removed:
            self.spaces[space].pop(i, None)
        self.spaces[space].update(added)
        self.sequences[space] = sequence

    def sequence(self, space):
        return self.sequences[space]

    def search(self, space, probe, *, count_max, score_min, exclude=None, outside=None):
        scored = [
            (float(np.dot(template, probe)), i)
            for i, template in self.spaces[space].items()
            if i != exclude
        ]
        best = sorted((-score, i) for score, i in scored if score >= score_min)
        return [Candidate(i, -score) for score, i in best[:count_max]]

    def drop(self, space):
        del self.spaces[space], self.sequences[space]

    def close(self):
        self.spaces.clear()
