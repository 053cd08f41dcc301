"""The service of `colorjax serve`: bytes of a picture in, bytes of the coloured one out.

`app` is what is asked and answered over HTTP, `server` runs it. A request first gets a place in a
line of so many (`line`), before its body is read; some at a time are then read, coloured and
written (`work`). `metrics` counts them. What a caller may ask for, and from where, is limited as on
the page (`coloring.page`).
"""
