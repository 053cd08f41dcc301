"""The HTTP service of `colorjax serve`: it receives a picture, and returns it coloured.

`app` defines the HTTP endpoints, and `server` runs them. A request first reserves a place in a
bounded queue (`request_queue`), before its body is read. A limited number of pictures at a time are
then decoded, coloured and encoded (`work`). `metrics` counts requests. Limits on pictures and on
the origin of requests are those of the page (`coloring.page`).
"""
