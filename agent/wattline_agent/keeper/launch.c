/* Starts a task's first process without copying the keeper.
 *
 * fork() copies the keeper's page tables, and both sides then copy the pages they touch: more work
 * than all the rest of a start. vfork() lends the child the keeper's memory until it executes its
 * program. No Python may run in such a child, so what it must set of itself before that
 * (PR_SET_PDEATHSIG above all, which nobody can set for another process) is set here. The steps are
 * those of `spawn._become_task`, and are named alike.
 *
 * A child that moves itself into its cgroup waits, on a host where nothing of the kind has happened
 * for a moment, some ten milliseconds until all processors have noticed. So it is born there, where
 * the kernel can do that (clone3 with CLONE_INTO_CGROUP, Linux 5.7).
 *
 * The keeper stands still until the child executes its program or gives up. So this is only for
 * programs and directories on file systems of this host (`mounts.py`); others may wait for a server.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the structures below, which `vfork.py` fills: both count one up when they change, so that a
 * library of another version is not taken for this one. */
const int wattline_launch_layout = 1;

struct limit {
    int resource;
    unsigned long long soft, hard;
};

struct launch {
    const char *path;
    char *const *argv;
    char *const *envp;
    const char *cwd;
    const char *cgroup; /* its directory; empty: none */
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

static int write_file(int folder, const char *path, const char *text)
{
    int file = openat(folder, path, O_WRONLY | O_CLOEXEC);
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
    if (write_file(AT_FDCWD, "/proc/self/oom_score_adj", task->oom_score_adj) != 0)
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

/* In the child, which shares the keeper's memory but for this stack frame. Returns on failure.
 * `cgroup`: to move into; -1 = none, or born there. */
static void become(
    const struct launch *task, pid_t keeper, int cgroup, volatile struct outcome *outcome)
{
    sigset_t none;
    sigemptyset(&none);
    outcome->step = "signals";
    default_signals();
    if (setsid() < 0)
        return;
    outcome->step = "cgroup";
    if (cgroup >= 0 && write_file(cgroup, "cgroup.procs", "0") != 0)
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

/* The whole of what the child does, in a frame of its own: the caller's must stay as it is, for
 * the keeper goes on in it. */
static __attribute__((noinline, noreturn)) void live(
    const struct launch *task, pid_t keeper, int cgroup, volatile struct outcome *outcome)
{
    become(task, keeper, cgroup, outcome);
    outcome->code = errno ? errno : ECHILD; /* not 0, which says that it runs */
    _exit(127);
}

#if defined(CLONE_INTO_CGROUP) && defined(SYS_clone3) && (defined(__x86_64__) || defined(__aarch64__))
/* As vfork(), but into a cgroup; -1 where the kernel cannot do that. A system call in line, because
 * a function that made it would return twice from one frame. */
static inline __attribute__((always_inline)) long vfork_into(int cgroup)
{
    struct clone_args how = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .cgroup = (unsigned long long)cgroup,
    };
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"((long)SYS_clone3), "D"(&how), "S"(sizeof how)
                     : "rcx", "r11", "memory");
#else
    register long number __asm__("x8") = SYS_clone3;
    register long result __asm__("x0") = (long)&how;
    register long size __asm__("x1") = sizeof how;
    __asm__ volatile("svc 0" : "+r"(result) : "r"(size), "r"(number) : "memory");
#endif
    return result;
}
#else
static inline long vfork_into(int cgroup)
{
    (void)cgroup;
    return -1;
}
#endif

static pid_t start(const struct launch *task, int cgroup, volatile struct outcome *outcome)
{
    pid_t keeper = getpid();
    if (cgroup >= 0) {
        long born = vfork_into(cgroup);
        if (born == 0)
            live(task, keeper, -1, outcome);
        if (born > 0)
            return (pid_t)born;
    }
    pid_t child = vfork();
    if (child == 0)
        live(task, keeper, cgroup, outcome);
    return child;
}

/* The process, whose program runs if `outcome->step` is NULL and which has ended otherwise; -1:
 * there is no process. */
pid_t wattline_launch(const struct launch *task, volatile struct outcome *outcome)
{
    sigset_t all, before;
    int cgroup = -1;
    if (*task->cgroup && (cgroup = open(task->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        outcome->step = "cgroup";
        outcome->code = errno;
        return -1;
    }
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* no handler of the keeper's runs in the child */
    pid_t child = start(task, cgroup, outcome);
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (cgroup >= 0)
        close(cgroup);
    if (child < 0) {
        outcome->step = "fork";
        outcome->code = code;
    } else if (outcome->code == 0) {
        outcome->step = NULL;
    }
    return child;
}
