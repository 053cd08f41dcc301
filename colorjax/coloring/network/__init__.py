"""The pixel processing of one photograph around the network, most of it compiled.

`borders` selects the part of a photo that the network is given, `shapes` the size of the network's
input, and `memory` limits that size. `functions` holds the programs from the network's scores to
chroma, `hint_propagation` those for hints and `transfer` those for references; `tiles` applies the
chroma to the full-size photo.
"""
