"""The one exception for what a user can mend, and the exit codes of the command line.

A `UserError` reads as one sentence or a few: what was wrong, with which file or key, and what was expected.
The command line prints its text without a traceback and exits with `USER`. Everything else that is raised
is an internal error and exits with `DEFECT`.
"""

from __future__ import annotations

import errno
import os

DONE = 0  # done, or accepted by the gate
DEFECT = 1  # an internal error; the traceback is kept in the run folder
USER = 2  # the user's input, configuration or environment
REJECTED = 3  # the gate rejects the checkpoint, or one of the user's rules fails
UNDECIDED = 4  # the gate needs more samples, or a rule cannot be decided
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


class Diverged(UserError):
    """A training whose losses or parameters are not finite: nothing of it must be taken for a model."""


# What the file system says of itself rather than of a mistake in genaudit.
ENVIRONMENT = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENOTDIR", "EISDIR"),
        *("EEXIST", "ENAMETOOLONG", "ELOOP", "ESTALE", "ENOMEM", "ENXIO", "ENODEV", "ETXTBSY", "EBUSY", "ENOTCONN"),
        *("ETIMEDOUT", "ENOTEMPTY", "EXDEV"),
    )
    if hasattr(errno, name)
}


def environment_fault(error: BaseException) -> str | None:
    """One sentence where an exception comes from the machine (disk, permissions, memory); None where it does not."""
    seen: BaseException | None = error
    while seen is not None:
        if sentence := _fault(seen):
            return sentence
        seen = seen.__cause__  # not what merely was being handled: a mistake there would be taken for the machine's
    return None


def _fault(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, OSError):
        if error.errno not in ENVIRONMENT and not _working_folder_is_gone():
            return None
        if _working_folder_is_gone():
            return WORKING_FOLDER
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{where}{error.strerror or text} (errno {error.errno}); what was finished by then is kept"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        first = text.splitlines()[0] if text else type(error).__name__
        return f"there is not enough memory ({first}); a smaller batch_size= or limit= needs less"
    if isinstance(error, RuntimeError) and "home directory" in text.lower():
        return "a path begins with ~, and no home folder can be found; write the path in full"
    return None


WORKING_FOLDER = "the working folder does not exist any more; change into another one"


def _working_folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False
