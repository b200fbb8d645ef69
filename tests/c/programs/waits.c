/* Talks to itself by pipes and sockets, and waits in every way. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t rang;

#define MUST(condition)                                                       \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "line %d: %d\n", __LINE__, errno);                \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

static void ring(int signal) { rang += signal; }

static int to;

static void ring_and_write(int signal)
{
    rang += write(to, "y", 1) == 1 ? signal : 0;
}

static void ring_in(int ms)
{
    const struct itimerval once = {.it_value = {.tv_usec = ms * 1000}};

    MUST(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

static void by_pipe(void)
{
    static char many[100000];
    char got[8];
    int ends[2];

    MUST(pipe2(ends, O_NONBLOCK) == 0);
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    MUST(poll(&p, 1, 2) == 0);
    MUST(write(ends[1], "abc", 3) == 3 && poll(&p, 1, -1) == 1);
    MUST(read(ends[0], got, 8) == 3 && read(ends[0], got, 8) == -1);
    MUST(errno == EAGAIN && write(ends[1], many, sizeof many) == 65536);
    fd_set in;
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    MUST(select(ends[0] + 1, &in, NULL, NULL, NULL) == 1);
    MUST(close(ends[0]) == 0 && write(ends[1], "x", 1) == -1);
    MUST(errno == EPIPE && close(ends[1]) == 0);
}

static void by_socket(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77};
    const char *text = "over here";
    uint64_t one = 1;
    char got[32];
    int ends[2];

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    int set = epoll_create1(EPOLL_CLOEXEC), counter = eventfd(0, 0);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends[1], &event) == 0);
    event.data.u64 = 78;
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, counter, &event) == 0);
    MUST(epoll_wait(set, &event, 1, 2) == 0);
    MUST(send(ends[0], text, strlen(text), 0) == 9);
    MUST(epoll_wait(set, &event, 1, -1) == 1 && event.data.u64 == 77);
    MUST(recv(ends[1], got, sizeof got, 0) == 9);
    MUST(write(counter, &one, 8) == 8);
    MUST(epoll_wait(set, &event, 1, -1) == 1 && event.data.u64 == 78);
    MUST(shutdown(ends[0], SHUT_WR) == 0);
    MUST(recv(ends[1], got, sizeof got, 0) == 0);
    printf("%.9s", got); /* and what is open stays so */
}

static void by_signal(void)
{
    const struct timespec long_ = {.tv_sec = 20}, short_ = {.tv_nsec = 1000};
    struct timespec left;
    int ends[2];
    char got;

    MUST(alarm(9) == 0 && alarm(0) == 9);
    MUST(nanosleep(&short_, NULL) == 0);
    ring_in(2);
    MUST(nanosleep(&long_, &left) == -1 && errno == EINTR);
    MUST(left.tv_sec == 19 && pipe(ends) == 0);
    ring_in(2);
    MUST(read(ends[0], &got, 1) == -1 && errno == EINTR);
    ring_in(2);
    MUST(poll(NULL, 0, -1) == -1 && errno == EINTR);
    to = ends[1];
    signal(SIGALRM, ring_and_write); /* after it, read goes on */
    ring_in(2);
    MUST(read(ends[0], &got, 1) == 1 && got == 'y');
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = ring};

    MUST(sigaction(SIGALRM, &action, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    by_pipe();
    by_socket();
    by_signal();
    MUST(fork() == -1 && errno == ENOSYS);
    printf(", %s, %d\n", argv[argc - 1], (int)rang / SIGALRM);
    return argc;
}
