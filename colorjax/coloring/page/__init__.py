"""The web page of `colorjax demo`: upload photos, compare before and after, sample, download.

Everything that a visitor sees of a photo is derived from one value, `View`: the photo and its
settings. Each event handler builds a view from the controls, and renders pictures from the view.
Previews are small; only the download has full size. The page reports any problem with a photo in
one sentence. Time and size limits keep one visitor's photo from blocking the others (`limits`).

The page makes no requests to other hosts, and neither does the server on its behalf. The server
serves and accepts no files except those of the page (`guard`). Uploads and results are stored in a
private folder, which is deleted when the program ends.
"""
