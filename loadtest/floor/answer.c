// The least that a cache can do: whatever comes is answered with the same 1,024 bytes.
//
// One thread, edge-triggered epoll, two system calls a request. It parses nothing and looks nothing up. Not a cache to be used.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 256, BODY_BYTES = 1024 };

int main(int count, char **arguments) {
    if (count != 2 || arguments[1][0] == '-') {
        puts("answer of Ringway's load tests; usage: answer PORT");
        return 64;
    }
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 16384)) {
        perror("answer");
        return 69;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    char answer[512 + BODY_BYTES], request[4096];
    int head = sprintf(answer, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n"
                               "date: Thu, 26 Nov 2026 02:30:00 GMT\r\ncache-status: floor; hit\r\nage: 1\r\n\r\n", BODY_BYTES);
    memset(answer + head, 'x', BODY_BYTES);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            int socket = events[i].data.fd;
            if (socket == listener) {
                while ((socket = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    event = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = socket};
                    epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
                }
            } else if (recv(socket, request, sizeof request, 0) > 0) {
                send(socket, answer, head + BODY_BYTES, MSG_NOSIGNAL);
            } else {
                close(socket);
            }
        }
    }
}
