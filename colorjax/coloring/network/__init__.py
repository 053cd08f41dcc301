"""What is done to one photograph's pixels around the network, most of it compiled.

`borders` says what of a photo is shown, `shapes` in which shape, and `memory` how large that may
be. `functions` holds the programs from the network's scores to chroma, `spreading` those of hints
and `carrying` those of references; `tiles` gives the chroma to the photo at its full size.
"""
