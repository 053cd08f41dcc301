"""The one exception that a user's own mistake may cause."""


class UserError(Exception):
    """Bad input, told in one sentence: what was found, where, and what was wanted instead.

    Entry points print the sentence and exit with status 2; anything else that is raised is a
    defect of the program and keeps its traceback.
    """
