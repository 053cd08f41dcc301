"""Films as files: `reading` gives their frames, `encoding` makes segments, `joining` the result.

`planes` goes between a film's luma and chroma and pictures; `formats` says which files are films.
"""
