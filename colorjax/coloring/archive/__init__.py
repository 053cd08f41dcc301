"""Archives: colours any number of photographs once each, on one machine or on a cluster.

`source` lists the photographs, and `store` reads and writes files. `remaining` finds the
photographs that are not done yet, from the `log` and from the existing results. A `worker` colours
them, and `cluster` distributes them to many workers with Ray Data. Ray and pyarrow are imported
only when they are needed.
"""
