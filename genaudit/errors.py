"""The one exception for what a user can mend, and the exit codes of the command line.

A `UserError` reads as one sentence or a few: what was wrong, with which file or key, and what was expected.
The command line prints its text without a traceback and exits with `USER`. Everything else that is raised
is an internal error and exits with `DEFECT`.
"""

from __future__ import annotations

import errno
import os
import re

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


def reason_of(error: object) -> str:
    """Why something failed, an exception or its text, for a message of ours: one line without Python's own marks.

    >>> reason_of(KeyError("mean")), reason_of(OSError(2, "No such file or directory"))
    ('mean is missing', 'No such file or directory')
    >>> reason_of(ConnectionResetError()), reason_of(ValueError("bad magic\\nand more"))
    ('connection reset', 'bad magic')
    """
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):  # urllib's URLError wraps what the network said
        return reason_of(inner)
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start:,} is not UTF-8 text"
    if isinstance(error, KeyError) and len(error.args) == 1:
        return one_line(f"{error.args[0]} is missing")
    strerror = getattr(error, "strerror", None)
    if isinstance(error, OSError) and isinstance(strerror, str) and strerror:
        name = error.filename
        return one_line(f"{strerror}: {os.fsdecode(name)}" if isinstance(name, (str, bytes)) else strerror)
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    headed = 1 + (len(lines) > 1 and lines[0].endswith(":"))  # a head says nothing without the line that it announces
    first = " ".join(lines[:headed])[:_LONGEST_REASON]
    first = _URLOPEN.sub(r"\1", first)
    if unreachable := _UNREACHABLE.search(first):  # of requests, whose texts are nested representations
        return f"{unreachable[1]} cannot be reached"
    return one_line(_ERRNO.sub("", first)) or _in_words(type(error).__name__)


_LONGEST_REASON = 300  # characters
_URLOPEN = re.compile(r"<urlopen error (.*)>")
_ERRNO = re.compile(r"\[Errno -?\d+\] ?")
_UNREACHABLE = re.compile(r"host='([^']+)'.*(?:Max retries|timed out|timeout)")


def _in_words(name: str) -> str:
    """`ConnectionResetError` as `connection reset`: the last resort for an exception that says nothing."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name.replace("EOF", "EndOfFile"))
    return " ".join(words[:-1] if len(words) > 1 and words[-1] in ("Error", "Exception") else words).lower() or name


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
