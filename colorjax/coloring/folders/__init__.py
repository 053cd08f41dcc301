"""Colours any number of photographs on a disk.

`finding` finds the files to colour, and `naming` decides where their results go; `batch` reads,
colours and writes them. `compare` and `gallery` draw several pictures on one sheet.
"""
