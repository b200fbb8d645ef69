# What the glue uses of Python and of the C library.

import os
from operator import index
from sys import is_finalizing
from weakref import ref as weak_reference

from hyperlight.errors import (
    DriverUnavailable, GuestAborted, GuestError, SandboxPoisoned,
    TrackerOverlap, TrackerUnavailable)
from hyperlight.stats import RestoreStats
from hyperlight.text import brief, count

cimport cython

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer)
from cpython.bytearray cimport PyByteArray_CheckExact
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize)
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport (
    PyUnicode_AsUTF8AndSize, PyUnicode_CheckExact, PyUnicode_DecodeUTF8)
from libc.errno cimport EEXIST, ENOMEM
from libc.stdint cimport (
    INT64_MAX, INT64_MIN, int64_t, uint32_t, uint64_t, uintptr_t)
from libc.string cimport memcpy, memmove, memset

cdef extern from "<errno.h>":
    int E2BIG, EACCES, EAGAIN, EBADF, EBUSY, ECHILD, EDEADLK, EFAULT, EINTR
    int EINVAL, EMFILE, ENFILE, ENODATA, ENOENT, EOPNOTSUPP
