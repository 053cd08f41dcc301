"""Photographs on a disk, as many as there are.

`finding` says which files are meant, and `naming` what their results are called; `batch` reads,
colours and writes them. `compare` and `gallery` put several pictures on one sheet.
"""
