/* Starts a task's first process without copying the keeper.
 *
 * fork() copies the keeper's page tables, and both sides then copy the pages they touch: more work
 * than all the rest of a start. vfork() lends the child the keeper's memory until it executes its
 * program. No Python may run in such a child, so what it must set of itself before that
 * (PR_SET_PDEATHSIG above all, which nobody can set for another process) is set here. The steps are
 * those of `spawn._become_task`, and are named alike.
 *
 * The keeper stands still until the child executes its program or gives up. So this is only for
 * programs and directories on file systems of this host; others may wait for a server.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

struct limit {
    int resource;
    unsigned long long soft, hard;
};

struct launch {
    const char *path;
    char *const *argv;
    char *const *envp;
    const char *cwd;
    const char *cgroup_procs; /* empty: no cgroup */
    const char *oom_score_adj;
    int output;
    int niceness; /* never forward, which would need a permission */
    const struct limit *limits;
    int limit_count;
};

struct outcome {
    const char *step; /* what failed; NULL: the program runs */
    int code;         /* errno of it */
};

static const unsigned long LOCAL_FILE_SYSTEMS[] = {
    0xEF53,     /* ext2, ext3, ext4 */
    0x58465342, /* XFS */
    0x9123683E, /* btrfs */
    0xF2F52010, /* F2FS */
    0x2FC12FC1, /* ZFS */
    0x01021994, /* tmpfs */
    0x794C7630, /* overlayfs */
    0x73717368, /* squashfs */
    0xE0F5E1E2, /* EROFS */
};

int wattline_is_local(const char *path)
{
    struct statfs found;
    if (statfs(path, &found) != 0)
        return 0;
    for (size_t i = 0; i < sizeof LOCAL_FILE_SYSTEMS / sizeof *LOCAL_FILE_SYSTEMS; i++)
        if ((unsigned long)found.f_type == LOCAL_FILE_SYSTEMS[i])
            return 1;
    return 0;
}

static int write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    ssize_t written = write(file, text, strlen(text));
    int code = errno;
    close(file);
    errno = code;
    return written < 0 ? -1 : 0;
}

static int set_limits(const struct launch *task)
{
    for (int i = 0; i < task->limit_count; i++) {
        const struct limit *limit = &task->limits[i];
        struct rlimit wanted = {limit->soft, limit->hard};
        if (setrlimit(limit->resource, &wanted) != 0)
            return -1;
    }
    return 0;
}

static int step_back(const struct launch *task)
{
    if (getpriority(PRIO_PROCESS, 0) < task->niceness
        && setpriority(PRIO_PROCESS, 0, task->niceness) != 0)
        return -1;
    if (write_file("/proc/self/oom_score_adj", task->oom_score_adj) != 0)
        return errno == EACCES || errno == EPERM ? 0 : -1; /* it is higher already */
    return 0;
}

static int set_streams(int output)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        return -1;
    return 0;
}

static void default_signals(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &usual, NULL); /* of two signals it cannot be changed, nor need be */
}

/* In the child, which shares the keeper's memory but for this stack frame. Returns on failure. */
static void become(const struct launch *task, pid_t keeper, volatile struct outcome *outcome)
{
    sigset_t none;
    sigemptyset(&none);
    outcome->step = "signals";
    default_signals();
    if (setsid() < 0)
        return;
    outcome->step = "cgroup";
    if (*task->cgroup_procs && write_file(task->cgroup_procs, "0") != 0)
        return;
    outcome->step = "priority";
    if (step_back(task) != 0)
        return;
    outcome->step = "limits";
    if (set_limits(task) != 0)
        return;
    outcome->step = "output";
    if (set_streams(task->output) != 0)
        return;
    outcome->step = "parent";
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != keeper)
        return; /* the keeper died before the line above took effect */
    outcome->step = "chdir";
    if (chdir(task->cwd) != 0)
        return;
    outcome->step = "exec";
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(task->path, task->argv, task->envp);
}

/* The process, whose program runs if `outcome->step` is NULL and which has ended otherwise; -1:
 * there is no process. */
pid_t wattline_launch(const struct launch *task, volatile struct outcome *outcome)
{
    sigset_t all, before;
    pid_t keeper = getpid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* no handler of the keeper's runs in the child */
    pid_t child = vfork();
    if (child == 0) {
        become(task, keeper, outcome);
        outcome->code = errno ? errno : ECHILD; /* not 0, which says that it runs */
        _exit(127);
    }
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (child < 0) {
        outcome->step = "fork";
        outcome->code = code;
    } else if (outcome->code == 0) {
        outcome->step = NULL;
    }
    return child;
}
