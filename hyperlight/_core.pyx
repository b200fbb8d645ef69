# cython: language_level=3, boundscheck=False, wraparound=False
# cython: embedsignature=False, binding=True
"""The C core as Python sees it: types, buffers, errors, the GIL.

One module, because the registry of tracked ranges and the fault handler must
exist once in a process.  glue/c declares what C has, a file for each folder of
csrc; the rest of glue converts between that and Python.  A class that is too
long for one file is a chain of classes, a topic each: the last one is used.
"""

include "glue/imports.pxi"
include "glue/c/why.pxi"
include "glue/c/mem.pxi"
include "glue/c/track.pxi"
include "glue/c/snapshot.pxi"
include "glue/c/vm.pxi"
include "glue/c/manager.pxi"
include "glue/c/abi.pxi"
include "glue/c/sandbox.pxi"

include "glue/gil.pxi"
include "glue/errors.pxi"
include "glue/inject.pxi"
include "glue/bits.pxi"
include "glue/borrow.pxi"
include "glue/memory_owner.pxi"
include "glue/memory.pxi"
include "glue/track.pxi"
include "glue/snapshot.pxi"
include "glue/vm.pxi"
include "glue/choose.pxi"
include "glue/mirror.pxi"
include "glue/manager_owner.pxi"
include "glue/stats.pxi"
include "glue/manager.pxi"
include "glue/values.pxi"
include "glue/sandbox_owner.pxi"
include "glue/sandbox_turn.pxi"
include "glue/sandbox_run.pxi"
include "glue/sandbox_state.pxi"
include "glue/sandbox_talk.pxi"
include "glue/sandbox_calls.pxi"
include "glue/sandbox_batch.pxi"
include "glue/sandbox.pxi"
include "glue/program.pxi"
include "glue/program_files.pxi"
