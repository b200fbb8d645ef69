"""The packets of a Python sandbox: one line each way at a time.

The host speaks first. A packet is a kind of one byte and what belongs to it;
"value" is a plain value as :mod:`values` writes it. What is marked * is one,
too, in the form of bytes, so that errors can say where in it something is.

=========  ===========================================  ====================
from host  content                                      answered by
=========  ===========================================  ====================
RUN        32 bytes of entropy, value: (code, inputs*)  RESULT, or a question
CALL       32 bytes, value: (target, args*, kwargs*)    RESULT, or a question
REPLY      value: what the question asked for           as RUN
RAISED     value: (type, message) of an exception       as RUN
ROOM       value: size of the next packet               ROOM
=========  ===========================================  ====================

==========  ===========================================================
from guest  content
==========  ===========================================================
RESULT      NOTHING: there is no value; PLAIN, value; SHOWN, value:
            (text,), the repr of what is no plain value; FAILED, value:
            (type, message, traceback) of an exception
ASK         value: (name, args*, kwargs*): call this host function
KNOWN       value: a name: is there a host function of that name?
ROOM        nothing: there is room for the packet now
==========  ===========================================================

The guest reads up to :data:`USUAL` bytes unless the host asked for more room.
"""

from __future__ import annotations

__all__ = [
    "ASK",
    "CALL",
    "ENTROPY",
    "FAILED",
    "KNOWN",
    "LONGEST",
    "NOTHING",
    "PLAIN",
    "RAISED",
    "REPLY",
    "RESULT",
    "ROOM",
    "RUN",
    "SHOWN",
    "USUAL",
    "cut",
]

RUN = b"R"
CALL = b"C"
REPLY = b"V"
RAISED = b"X"
ROOM = b"G"

RESULT = b"r"
ASK = b"h"
KNOWN = b"k"

NOTHING = b"N"
PLAIN = b"V"
SHOWN = b"S"
FAILED = b"E"

#: Bytes of entropy in a RUN or CALL.
ENTROPY = 32
#: Bytes that the guest has room for at any time.
USUAL = 1 << 16
#: Characters of a repr, a message or a traceback that cross.
LONGEST = 1 << 16


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and end and how much is missing.

    >>> cut("abcdefgh", 4)
    'ab... (4 more characters) ...gh'
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    missing = len(text) - 2 * half
    return f"{text[:half]}... ({missing} more characters) ...{text[-half:]}"
