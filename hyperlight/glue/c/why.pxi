# csrc/why: reasons as sentences.

cdef extern from "why.h" nogil:
    enum: HL_WHY_SIZE
    int hl_why_errno(char *why, int err, const char *what)
