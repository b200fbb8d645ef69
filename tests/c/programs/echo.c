/* Upper-cases what it reads, handles its own signal, and aborts on "abort". */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t got;
static __thread int mine = 5;

static void handler(int signal, siginfo_t *info, void *context)
{
    got += signal + (info->si_signo == signal) + (context != NULL);
}

int main(void)
{
    const struct sigaction action = {.sa_sigaction = handler,
                                     .sa_flags = SA_SIGINFO};
    char line[256];
    double sum = 0.5;

    sigaction(SIGUSR1, &action, NULL);
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "abort\n") == 0)
            abort();
        if (strcmp(line, "fault\n") == 0)
            *(volatile char *)0 = 1;
        raise(SIGUSR1);
        for (char *c = line; *c; c++)
            *c = (char)toupper((unsigned char)*c);
        sum += 0.25;
        fputs(line, stdout);
    }
    printf("%d %d %.2f %d\n", (int)got, mine, sum, time(NULL) > 1000000000);
    return 0;
}
