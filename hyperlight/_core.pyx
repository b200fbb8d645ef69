# cython: language_level=3, boundscheck=False, wraparound=False
# cython: embedsignature=False, binding=True
"""The C core as Python sees it: types, buffers, errors, the GIL.

One module, because the registry of tracked ranges and the fault handler must
exist once in a process.  The parts are included below, one for each folder of
csrc.
"""

include "glue/errors.pxi"
include "glue/mem.pxi"
include "glue/track.pxi"
include "glue/snapshot.pxi"
include "glue/vm.pxi"
include "glue/choose.pxi"
include "glue/manager.pxi"
include "glue/wire.pxi"
include "glue/sandbox.pxi"
