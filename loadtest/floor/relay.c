// The least that a proxy of HTTP/1.1 can do: every byte of a client goes to an origin's connection of its own, and back.
//
// One thread, level-triggered epoll, four system calls a request for its data. It parses nothing, keeps no pool, has no
// timeout and writes no log: what it costs is what the kernel's TCP costs anybody who uses epoll. Not a proxy to be used.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 65536, EVENTS_MAX = 256 };

static int other_end[DESCRIPTORS_MAX];
static char bytes[64 * 1024];

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(int epoll, int socket) {
    int on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = socket};
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
}

static void pair(int epoll, int client, const struct sockaddr_in *origin) {
    int upstream = socket(AF_INET, SOCK_STREAM, 0);
    if (upstream < 0 || upstream >= DESCRIPTORS_MAX || client >= DESCRIPTORS_MAX ||
        connect(upstream, (const void *)origin, sizeof *origin) != 0) {
        close(client);
        close(upstream);
        return;
    }
    other_end[client] = upstream;
    other_end[upstream] = client;
    watch(epoll, client);
    watch(epoll, upstream);
}

static void move(int from) {
    int to = other_end[from];
    if (!to) return;
    ssize_t count = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) {
        send(to, bytes, count, MSG_NOSIGNAL);
        return;
    }
    other_end[from] = other_end[to] = 0;
    close(from);
    close(to);
}

int main(int count, char **arguments) {
    if (count != 3) {
        puts("relay of Ringway's load tests; usage: relay PORT ORIGIN_PORT");
        return 64;
    }
    struct sockaddr_in here = loopback(arguments[1]), origin = loopback(arguments[2]);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 16384)) {
        perror("relay");
        return 69;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            int socket = events[i].data.fd;
            if (socket != listener) move(socket);
            else if ((socket = accept(listener, 0, 0)) >= 0) pair(epoll, socket, &origin);
        }
    }
}
