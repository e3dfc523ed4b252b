"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what is wrong, then how to mend it. Commands print it and exit 1; nodes log it and refuse
    the transition. Anything else that is raised is a defect of ours and keeps its traceback.
    """
