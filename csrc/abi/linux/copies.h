/* From file to file, without a way through the program. */
#ifndef HL_ABI_LINUX_COPIES_H
#define HL_ABI_LINUX_COPIES_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_sendfile, hl_linux_copy_file_range;

#endif
