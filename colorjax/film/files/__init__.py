"""Film files: `reading` decodes frames, `encoding` writes segments, `joining` muxes the result.

`planes` converts pictures to and from luma and chroma; `formats` lists the suffixes of films.
"""
