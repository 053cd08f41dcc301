"""The page of `colorjax demo`: a photo in, before and after, other possibilities, a download.

A visitor's photo and settings are one value, `View`. Every event of the page makes a view from what
was chosen, and pictures from the view; previews are small, and only the download is of full size.
Whatever is wrong with a photo is a sentence in the page.

Nothing is asked of any other machine, by the page or for it, and no file is served but those of the
page: uploads and results live in a private folder that goes with the program.
"""
