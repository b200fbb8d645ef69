/* Says who it is, counts in memory, and ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv, char **envp)
{
    char *block = malloc(1 << 20); /* by mmap */

    memset(block, argc, 1 << 20);
    printf("%s has %d arguments, %s", argv[0], argc, envp[0]);
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf(" %d\n", block[(1 << 20) - 1]);
    fprintf(stderr, "to the other\n");
    free(block);
    return argc + 10;
}
