#include "abi/abi.h"

enum hl_left hl_abi_stopped(const struct hl_exit *exit)
{
    switch (exit->reason) {
    case HL_EXIT_KICKED:
        return HL_LEFT_KICKED;
    case HL_EXIT_INTERRUPTED:
        return HL_LEFT_INTERRUPTED;
    case HL_EXIT_TIMEOUT:
        return HL_LEFT_TIMEOUT;
    case HL_EXIT_EXCEPTION:
        return HL_LEFT_EXCEPTION;
    default:
        return HL_LEFT_BROKEN;
    }
}
