"""The page of `colorjax demo`: photos in, before and after, other draws, a download.

What a visitor sees of a photo is one value, `View`: the photo and its settings. Every event of the
page makes a view from what was chosen, and pictures from the view; previews are small, and only the
download is of full size. Whatever is wrong with a photo is a sentence in the page, and nobody's
photo holds those of others for long (`limits`).

Nothing is asked of any other machine, by the page or for it, and no file is served or taken but
those of the page (`guard`): uploads and results live in a private folder that goes with the
program.
"""
