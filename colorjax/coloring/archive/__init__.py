"""Archives: as many photographs as there are, on one machine or on many, each of them once.

`source` says which photographs there are, and `store` where bytes lie. `left` says which are not
done yet, by the `log` and by the results that are there; a `worker` colours them, and `cluster` has
Ray Data share them out to many. Nothing here imports Ray or pyarrow unless it is called for.
"""
