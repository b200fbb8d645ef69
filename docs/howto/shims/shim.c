/* Answers each request with the same in upper case. */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
    static char packet[65536];
    int host = open("/dev/hyperlight", O_RDWR | O_DIRECT);
    ssize_t size;

    while ((size = read(host, packet, sizeof packet)) >= 0) {
        for (ssize_t i = 0; i < size; i++)
            packet[i] = (char)toupper((unsigned char)packet[i]);
        if (write(host, packet, (size_t)size) != size)
            return 1;
    }
    return 2;
}
