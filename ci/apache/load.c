/* Apache's C client for ci/apache.sh, through the proxy.
 *
 * cc -DTHREADED load.c -lzookeeper_mt -o load-c && ./load-c HOSTS SECONDS SEED
 *
 * Three processes at a time, each one session long: counters by compare-and-set, nodes of every
 * kind, transactions, watches, an ACL, requests without waiting, all below a chroot. Some sessions
 * are closed, others left behind. Errors are what it is for. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static long done, failed, told;

static int draw(int below) { return rand() % below; }

static void count(int code) {
    if (code == ZOK) __sync_fetch_and_add(&done, 1);
    else __sync_fetch_and_add(&failed, 1);
}

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    if (type != ZOO_SESSION_EVENT) __sync_fetch_and_add(&told, 1);
}

static void data_done(int code, const char *value, int length, const struct Stat *stat, const void *context) {
    count(code);
}

static void stat_done(int code, const struct Stat *stat, const void *context) { count(code); }

static void string_done(int code, const char *value, const void *context) { count(code); }

static void nap(int milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static int fill(char *buffer) { return sprintf(buffer, "%d", rand()); }

static void increment(zhandle_t *zh) {
    char value[64];
    int length = sizeof value - 1;
    struct Stat stat;
    int code = zoo_get(zh, "/counter", 0, value, &length, &stat);
    count(code);
    if (code != ZOK || length < 0) return;
    value[length] = 0;
    length = sprintf(value, "%ld", atol(value) + 1);
    count(zoo_set(zh, "/counter", value, length, stat.version));
}

static void pair(zhandle_t *zh) {
    char value[64];
    int length = fill(value);
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    struct Stat stats[2];
    zoo_check_op_init(&ops[0], "/counter", draw(9) ? -1 : 7);
    zoo_set_op_init(&ops[1], "/left", value, length, -1, &stats[0]);
    zoo_set_op_init(&ops[2], "/right", value, length, -1, &stats[1]);
    count(zoo_multi(zh, 3, ops, results));
}

static void birth(zhandle_t *zh) {
    int modes[] = {0, ZOO_EPHEMERAL, ZOO_PERSISTENT_SEQUENTIAL, ZOO_EPHEMERAL_SEQUENTIAL};
    int mode = modes[draw(4)];
    char path[64], made[128], value[64];
    struct Stat stat;
    snprintf(path, sizeof path, "/n%d%s", draw(6), mode > 1 ? "-" : "");
    if (draw(2)) count(zoo_create(zh, path, value, fill(value), &ZOO_OPEN_ACL_UNSAFE, mode, made, sizeof made));
    else count(zoo_create2(zh, path, NULL, -1, &ZOO_OPEN_ACL_UNSAFE, mode, made, sizeof made, &stat));
}

static void sweep(zhandle_t *zh) {
    struct String_vector names;
    int code = zoo_wget_children(zh, "/", watcher, NULL, &names);
    count(code);
    if (code != ZOK) return;
    for (int i = 0; i < names.count; i++) {
        char path[256];
        if (names.data[i][0] != 'n' || draw(4)) continue;
        snprintf(path, sizeof path, "/%s", names.data[i]);
        count(zoo_delete(zh, path, -1));
    }
    deallocate_String_vector(&names);
}

static void own(zhandle_t *zh, int seed) {
    char path[64], value[64];
    int length = sizeof value;
    struct Stat stat;
    struct ACL_vector acl;
    snprintf(path, sizeof path, "/own-%d", seed);
    count(zoo_create(zh, path, "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    count(zoo_wget(zh, path, watcher, NULL, value, &length, &stat));
    if (zoo_get_acl(zh, path, &acl, &stat) == ZOK) deallocate_ACL_vector(&acl);
    count(zoo_delete(zh, path, 0));
}

static void pipeline(zhandle_t *zh) {
    char value[64];
    for (int i = 0; i < 10; i++) {
        const char *path = draw(2) ? "/left" : "/right";
        zoo_aset(zh, path, value, fill(value), -1, stat_done, NULL);
        zoo_awget(zh, path, watcher, NULL, data_done, NULL);
    }
    zoo_async(zh, "/", string_done, NULL);
}

static void look(zhandle_t *zh) {
    struct Stat stat;
    struct String_vector names;
    switch (draw(3)) {
    case 0: count(zoo_wexists(zh, draw(2) ? "/n1" : "/none", watcher, NULL, &stat)); break;
    case 1: count(zoo_exists(zh, "/counter", 1, &stat)); break;
    default:
        if (zoo_get_children2(zh, "/", 1, &names, &stat) == ZOK) deallocate_String_vector(&names);
    }
}

/* One session; true if it ever was connected. */
static void live(const char *hosts, int seed, double seconds) {
    char there[512];
    srand(seed);
    snprintf(there, sizeof there, "%s/c", hosts);
    zhandle_t *zh = zookeeper_init(there, watcher, 4000, NULL, NULL, 0);
    if (!zh) return;
    for (int i = 0; i < 2000 && zoo_state(zh) != ZOO_CONNECTED_STATE; i++) nap(10);
    if (zoo_state(zh) != ZOO_CONNECTED_STATE) {
        zookeeper_close(zh);
        return;
    }
    zoo_add_auth(zh, "digest", "c:secret", 8, NULL, NULL);
    const char *nodes[] = {"/", "/counter", "/left", "/right"};
    for (int i = 0; i < 4; i++) count(zoo_create(zh, nodes[i], "0", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    double life = 3 + draw(12);
    if (life > seconds) life = seconds;
    for (time_t end = time(NULL) + (int)life; time(NULL) < end && !is_unrecoverable(zh); nap(draw(60))) {
        switch (draw(7)) {
        case 0: increment(zh); break;
        case 1: pair(zh); break;
        case 2: birth(zh); break;
        case 3: sweep(zh); break;
        case 4: own(zh, seed); break;
        case 5: pipeline(zh); break;
        default: look(zh);
        }
    }
    if (draw(4)) zookeeper_close(zh);
}

int main(int count_of_arguments, char **arguments) {
    if (count_of_arguments < 4) return 2;
    int seconds = atoi(arguments[2]), seed = atoi(arguments[3]) * 100000;
    time_t end = time(NULL) + seconds;
    int alive = 0;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    while (time(NULL) < end) {
        if (alive < 3) {
            seed++, alive++;
            if (fork() == 0) {
                live(arguments[1], seed, (double)(end - time(NULL)));
                printf("session %d: %ld done, %ld refused or lost, told %ld times\n", seed, done, failed, told);
                fflush(stdout);
                _exit(0);
            }
        } else if (wait(NULL) > 0) alive--;
    }
    while (alive-- > 0) wait(NULL);
    return 0;
}
