# Values between Python and guests.

#: Names of the types in signatures, by their codes.
TYPES = ("none", "int32", "int64", "uint32", "uint64", "float", "double",
         "bool", "str", "bytes")
assert len(TYPES) == HL_TYPES

# Bytes of a copy that takes no longer than to call something.
cdef enum: SHORT_COPY = 4096
cdef enum: SHORT_TEXT = 256


cdef uint64_t integer_bits(value, int64_t low, uint64_t high) except? 0:
    if isinstance(value, bool):
        raise TypeError("a bool")
    number = index(value)
    if not low <= number <= high:
        raise ValueError(f"{number} does not fit")
    return <uint64_t>(number & 0xffffffffffffffff)


cdef uint64_t float_bits(value, bint single) except? 0:
    cdef double number
    cdef float half
    cdef uint32_t low
    cdef uint64_t bits
    if isinstance(value, bool):
        raise TypeError("a bool")
    number = value
    if not single:
        memcpy(&bits, &number, 8)
        return bits
    half = <float>number
    if half - half != 0 and number - number == 0:
        raise ValueError(f"{number!r} does not fit")
    memcpy(&low, &half, 4)
    return low


cdef int put_room(hl_wire_writer *w, hl_type type, const void *data,
                  Py_ssize_t size, owner) except -1:
    cdef void *to = hl_wire_put_room(w, type, size)
    if to == NULL:
        raise ValueError(f"{size} bytes are too large for the buffer")
    if size < SHORT_COPY and is_pythons(owner):
        memcpy(to, data, size)
        return 0
    gil_wanted_for_copy(size)
    others_may_provide(owner, data, size)
    memcpy(to, data, size)
    gil_back()
    return 0


cdef int put_value(hl_wire_writer *w, int type, value) except -1:
    """Add a value; TypeError and ValueError do not name the argument."""
    cdef uint64_t bits
    cdef Py_ssize_t size
    cdef const char *text
    cdef Py_buffer view
    if type == HL_STR:
        if not isinstance(value, str):
            raise TypeError("not a str")
        text = PyUnicode_AsUTF8AndSize(value, &size)
        return put_room(w, HL_STR, text, size, value)
    if type == HL_BYTES:
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        try:
            return put_room(w, HL_BYTES, view.buf, view.len, value)
        finally:
            PyBuffer_Release(&view)
    if type == HL_I32:
        bits = integer_bits(value, -2**31, 2**31 - 1)
    elif type == HL_I64:
        bits = integer_bits(value, INT64_MIN, INT64_MAX)
    elif type == HL_U32:
        bits = integer_bits(value, 0, 2**32 - 1)
    elif type == HL_U64:
        bits = integer_bits(value, 0, <uint64_t>0xffffffffffffffff)
    elif type == HL_F32 or type == HL_F64:
        bits = float_bits(value, type == HL_F32)
    elif type == HL_BOOL:
        if not isinstance(value, bool):
            raise TypeError("not a bool")
        bits = value is True
    else:
        if value is not None:
            raise TypeError("not None")
        bits = 0
    if hl_wire_put(w, <hl_type>type, bits) < 0:
        raise ValueError("too large for the buffer")
    return 0


cdef bytes copy_of(const char *data, size_t size):
    cdef bytes out = PyBytes_FromStringAndSize(NULL, size)
    cdef char *to = PyBytes_AS_STRING(out)
    if size < SHORT_COPY:
        memcpy(to, data, size)
        return out
    gil_wanted_for_copy(size)
    memcpy(to, data, size)
    gil_back()
    return out


cdef object value_of(const hl_wire_value *v):
    """The value that the guest sent, copied once; ValueError: invalid text."""
    cdef float single
    cdef double number
    cdef uint32_t low
    cdef bytes copy
    cdef char few[SHORT_TEXT]
    if v.type == HL_STR and v.bits <= SHORT_TEXT:
        memcpy(few, v.data, v.bits)
        return PyUnicode_DecodeUTF8(few, v.bits, NULL)
    if v.type == HL_STR:
        copy = copy_of(v.data, v.bits)
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(copy), len(copy), NULL)
    if v.type == HL_BYTES:
        return copy_of(v.data, v.bits)
    if v.type == HL_I32 or v.type == HL_I64:
        return <int64_t>v.bits
    if v.type == HL_U32 or v.type == HL_U64:
        return v.bits
    if v.type == HL_F64:
        memcpy(&number, &v.bits, 8)
        return number
    if v.type == HL_F32:
        low = <uint32_t>v.bits
        memcpy(&single, &low, 4)
        return <double>single
    if v.type == HL_BOOL:
        return v.bits != 0
    return None


def encoded_name(str name not None):
    """The first value of every call of that name."""
    cdef char buffer[1024]
    cdef hl_wire_writer w
    hl_wire_begin(&w, buffer, sizeof(buffer))
    put_value(&w, HL_STR, name)
    cdef char *start = buffer + sizeof(hl_message)
    return start[:w.at - start]
