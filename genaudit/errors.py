"""The one exception for what a user can mend, and the exit codes of the command line.

A `UserError` reads as one sentence or a few: what was wrong, with which file or key, and what would be right.
The command line prints its text without a traceback and exits with `USER`. Everything else that is raised
is a defect of genaudit and exits with `DEFECT`.
"""

from __future__ import annotations

DONE = 0  # done, or accepted by the gate
DEFECT = 1  # a defect of genaudit; the traceback is kept in the run folder
USER = 2  # the user's input, configuration or environment
REJECTED = 3  # the gate rejects the checkpoint
UNDECIDED = 4  # the gate needs more samples
INTERRUPTED = 130


class UserError(Exception):
    """Something that the user can mend: a path, a key, an image, a missing weight file or package.

    Its text names files, whose names may hold anything: control characters show as escapes.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def visible(text: object) -> str:
    """Text whose control characters and undecodable bytes show as escapes; lines may still end."""
    return "\n".join(map(one_line, str(text).split("\n")))


def one_line(text: object) -> str:
    """Text whose control characters, line ends among them, and undecodable bytes show as escapes."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
