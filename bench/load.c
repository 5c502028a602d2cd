/*
 * Load over HTTP/1.1: some keep-alive connections that send prepared requests in turn.
 *
 *   load PORT REQUESTS CONNECTIONS SETTLE SECONDS RATE FIRST SAMPLES
 *
 * REQUESTS is a file of requests, each preceded by its length (4 bytes, little endian). Within a request ten `#`
 * become the number of the sending, counted from FIRST, and sixteen `@` the microseconds since 1970 at which it
 * was due; so lengths stay as they are.
 *
 * RATE 0 is a closed loop: a connection sends its next request when it has its answer, and latency counts from
 * the sending. Otherwise requests become due RATE times a second whatever the server does, wait for a free
 * connection, and latency counts from the moment they were due: nothing that a slow server keeps from being
 * sent is left out (coordinated omission; Tene, "How NOT to measure latency", 2013).
 *
 * What begins in the SETTLE seconds at the start is not counted. SAMPLES receives a latency per request, in
 * microseconds (4 bytes each). Ends with 1 and the answer on stderr at the first that is not 2xx.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MARKS = 8, NUMBER = 10, MOMENT = 16, ROOM = 4 << 20 };

typedef struct {
    char *bytes;
    size_t length;
    size_t numbers[MARKS], moments[MARKS];
    int number_count, moment_count;
} Request;

typedef struct {
    int busy;
    int64_t since;
    char *answer;
    size_t have, need; /* need: of the whole answer; 0 until its head is there */
} Connection;

static Request *requests;
static size_t request_count;
static uint64_t sent;
static int64_t wall_offset; /* from the monotonic clock to 1970, nanoseconds */

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int find_marks(Request *request, char mark, size_t width, size_t *places) {
    int count = 0;
    size_t run = 0;
    for (size_t i = 0; i < request->length; i++) {
        run = request->bytes[i] == mark ? run + 1 : 0;
        if (run == width && count < MARKS) {
            places[count++] = i + 1 - width;
            run = 0;
        }
    }
    return count;
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t length;
    if (!file) fail(path);
    while (fread(&length, sizeof length, 1, file) == 1) {
        requests = realloc(requests, (request_count + 1) * sizeof *requests);
        Request *request = &requests[request_count++];
        request->bytes = malloc(length);
        request->length = length;
        if (fread(request->bytes, 1, length, file) != length) fail(path);
        request->number_count = find_marks(request, '#', NUMBER, request->numbers);
        request->moment_count = find_marks(request, '@', MOMENT, request->moments);
    }
    fclose(file);
    if (!request_count) {
        fprintf(stderr, "no requests\n");
        exit(2);
    }
}

static int connected(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void put_digits(char *place, size_t width, uint64_t value) {
    while (width--) {
        place[width] = '0' + value % 10;
        value /= 10;
    }
}

static void send_request(int fd, Connection *connection, int64_t due, uint64_t first) {
    Request *request = &requests[sent % request_count];
    for (int i = 0; i < request->number_count; i++)
        put_digits(request->bytes + request->numbers[i], NUMBER, first + sent);
    for (int i = 0; i < request->moment_count; i++)
        put_digits(request->bytes + request->moments[i], MOMENT, (due + wall_offset) / 1000);
    sent++;
    connection->busy = 1;
    connection->since = due;
    connection->have = connection->need = 0;
    for (size_t done = 0; done < request->length;) {
        ssize_t wrote = write(fd, request->bytes + done, request->length - done);
        if (wrote < 0) fail("write");
        done += wrote;
    }
}

/* Take what has come; 1 when the answer is complete. */
static int take(int fd, Connection *connection) {
    char *answer = connection->answer;
    ssize_t got = recv(fd, answer + connection->have, ROOM - connection->have, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) fail("the server hung up");
    connection->have += got;
    answer[connection->have] = 0;
    if (!connection->need) {
        char *end = strstr(answer, "\r\n\r\n");
        if (!end) return 0;
        if (answer[9] != '2') {
            fprintf(stderr, "%.2000s\n", answer);
            exit(1);
        }
        char *length = strcasestr(answer, "\r\ncontent-length:");
        size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        connection->need = end + 4 - answer + body;
        if (connection->need > ROOM) {
            fprintf(stderr, "an answer of %zu bytes is more than was thought of\n", connection->need);
            exit(2);
        }
    }
    return connection->have >= connection->need;
}

static void wait_for(struct pollfd *places, int count, int64_t until) {
    int64_t left = until - nanoseconds(CLOCK_MONOTONIC);
    struct timespec timeout = {.tv_sec = left > 0 ? left / 1000000000 : 0,
                               .tv_nsec = left > 0 ? left % 1000000000 : 0};
    if (ppoll(places, count, &timeout, NULL) < 0 && errno != EINTR) fail("ppoll");
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "load PORT REQUESTS CONNECTIONS SETTLE SECONDS RATE FIRST SAMPLES\n");
        return 2;
    }
    int port = atoi(argv[1]), count = atoi(argv[3]);
    double rate = atof(argv[6]);
    uint64_t first = strtoull(argv[7], NULL, 10);
    read_requests(argv[2]);
    FILE *samples = fopen(argv[8], "wb");
    if (!samples) fail(argv[8]);
    struct pollfd *places = calloc(count, sizeof *places);
    Connection *connections = calloc(count, sizeof *connections);
    for (int i = 0; i < count; i++) {
        places[i] = (struct pollfd){.fd = connected(port), .events = POLLIN};
        connections[i].answer = malloc(ROOM + 1);
    }
    wall_offset = nanoseconds(CLOCK_REALTIME) - nanoseconds(CLOCK_MONOTONIC);
    int64_t start = nanoseconds(CLOCK_MONOTONIC), counted = start + (int64_t)(atof(argv[4]) * 1e9);
    int64_t end = counted + (int64_t)(atof(argv[5]) * 1e9);
    uint64_t due_count = 0;
    int busy = 0;
    for (;;) {
        int64_t now = nanoseconds(CLOCK_MONOTONIC), due = now, next = end;
        for (int i = 0; i < count; i++) { /* give free connections what is due */
            if (connections[i].busy) continue;
            if (rate > 0) due = start + (int64_t)(due_count * 1e9 / rate);
            if (due >= end || due > now) {
                next = due < end ? due : end;
                break;
            }
            send_request(places[i].fd, &connections[i], due, first);
            due_count++;
            busy++;
        }
        if (!busy && now >= end) break;
        if (now >= end + 60000000000LL) {
            fprintf(stderr, "%d requests had no answer for a minute\n", busy);
            return 1;
        }
        wait_for(places, count, now < end ? next : now + 1000000000);
        for (int i = 0; i < count; i++) {
            if (!places[i].revents || !connections[i].busy || !take(places[i].fd, &connections[i])) continue;
            int64_t done = nanoseconds(CLOCK_MONOTONIC);
            uint32_t latency = (done - connections[i].since) / 1000;
            /* A closed loop counts what it has done within its time, an open one what was due in it. */
            if (connections[i].since >= counted && (rate > 0 || done <= end))
                fwrite(&latency, sizeof latency, 1, samples);
            connections[i].busy = 0;
            busy--;
        }
    }
    return fclose(samples) ? 2 : 0;
}
