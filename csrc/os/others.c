#include "os/others.h"

static _Thread_local struct {
    void (*let_run)(void); /* NULL: nobody waits, or not any more */
    bool ran;
    uint64_t left; /* of HL_PATIENCE_NS */
    size_t times;
} mine;

void hl_others_wait(void (*let_run)(void))
{
    mine.let_run = let_run;
    mine.ran = false;
    mine.left = HL_PATIENCE_NS;
}

bool hl_others_ran(void)
{
    mine.let_run = NULL;
    return mine.ran;
}

void hl_let_others_run(void)
{
    void (*let_run)(void) = mine.let_run;

    if (let_run == NULL)
        return;
    mine.let_run = NULL;
    mine.ran = true;
    mine.times++;
    let_run();
}

void hl_spend(uint64_t ns)
{
    if (mine.let_run == NULL)
        return;
    if (ns > mine.left)
        hl_let_others_run();
    else
        mine.left -= ns;
}

size_t hl_others_times(void) { return mine.times; }
