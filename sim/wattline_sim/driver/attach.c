/* Finding and mapping the state file, the gate that every call passes, and the safety marker. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define SEQLOCK_YIELDS 100
#define SEQLOCK_SLEEPS 5000
#define SEQLOCK_SLEEP_US 100
#define HANG_SLICE_NS 1000000000
#define POLL_US 20000

/* A handle is the address of a slot; nothing is stored in it. */
struct wl_device {
    char slot;
};

static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wl_device devices[WL_GPUS_MAX];
static struct wl_device mig_devices[WL_GPUS_MAX * WL_MIG_MAX];
static wl_state *mapped;
static struct stat mapped_file;
static int read_only;
static int users; /* nvmlInit calls not yet matched by nvmlShutdown */

wl_state *sim_state(void) { return LOAD(mapped); }

nvmlDevice_t sim_device(uint32_t index) { return &devices[index]; }

nvmlDevice_t sim_mig_device(uint32_t gpu_index, uint32_t number) {
    return &mig_devices[gpu_index * WL_MIG_MAX + number];
}

uint32_t sim_mig_number(const wl_gpu *gpu, const wl_mig_instance *mig) {
    return (uint32_t)(mig - gpu->mig.instances);
}

uint32_t sim_mig_count(const wl_gpu *gpu) {
    uint32_t count = LOAD(gpu->mig.count);
    if (!LOAD(gpu->mig.enabled))
        return 0;
    return count < WL_MIG_MAX ? count : WL_MIG_MAX;
}

static void state_path(char *path, size_t size) {
    const char *named = getenv("WATTLINE_SIM_STATE");
    if (named != NULL && named[0] != '\0') {
        snprintf(path, size, "%s", named);
        return;
    }
    Dl_info self;
    char full[PATH_MAX];
    path[0] = '\0';
    if (dladdr((void *)state_path, &self) == 0 || realpath(self.dli_fname, full) == NULL)
        return;
    char *slash = strrchr(full, '/');
    if (slash != NULL) {
        *slash = '\0';
        snprintf(path, size, "%s/nvml.state", full);
    }
}

static nvmlReturn_t map_file(int file, const struct stat *found) {
    if ((size_t)found->st_size != sizeof(wl_state))
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    wl_state *state = mmap(NULL, sizeof(wl_state), protection, MAP_SHARED, file, 0);
    if (state == MAP_FAILED)
        return NVML_ERROR_OPERATING_SYSTEM;
    if (state->header.magic != WL_MAGIC || state->header.abi_version != WL_ABI_VERSION ||
        state->header.size_bytes != sizeof(wl_state) || state->header.gpu_count > WL_GPUS_MAX) {
        munmap(state, sizeof(wl_state));
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    }
    /* An older mapping is left alone: threads may still read it, and a new file is rare. */
    mapped_file = *found;
    STORE(mapped, state);
    return NVML_SUCCESS;
}

static nvmlReturn_t attach(void) {
    char path[PATH_MAX];
    struct stat found;
    state_path(path, sizeof path);
    read_only = 0;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 && (errno == EACCES || errno == EPERM || errno == EROFS)) {
        read_only = 1;
        file = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (file < 0)
        return errno == EACCES ? NVML_ERROR_NO_PERMISSION : NVML_ERROR_DRIVER_NOT_LOADED;
    nvmlReturn_t result = NVML_ERROR_OPERATING_SYSTEM;
    if (fstat(file, &found) == 0) {
        int known = mapped != NULL && found.st_ino == mapped_file.st_ino &&
                    found.st_dev == mapped_file.st_dev;
        result = known ? NVML_SUCCESS : map_file(file, &found);
    }
    close(file);
    if (result == NVML_SUCCESS && !LOAD(mapped->header.driver_loaded))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    return result;
}

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    pthread_mutex_lock(&attach_lock);
    nvmlReturn_t result = users > 0 ? NVML_SUCCESS : attach();
    if (result == NVML_SUCCESS)
        users++;
    pthread_mutex_unlock(&attach_lock);
    return result;
}

EXPORT nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }

EXPORT nvmlReturn_t nvmlShutdown(void) {
    pthread_mutex_lock(&attach_lock);
    nvmlReturn_t result = users > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
    if (users > 0)
        users--;
    pthread_mutex_unlock(&attach_lock);
    return result;
}

uint64_t sim_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sim_futex_wake(uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void sleep_us(uint32_t us) {
    struct timespec wait = {us / 1000000, (long)(us % 1000000) * 1000};
    while (nanosleep(&wait, &wait) != 0 && errno == EINTR) {
    }
}

void sim_read(const uint32_t *sequence, const void *source, void *copy, size_t size) {
    for (int tries = 0; tries < SEQLOCK_YIELDS + SEQLOCK_SLEEPS; tries++) {
        uint32_t before = LOAD(*sequence);
        memcpy(copy, source, size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if ((before & 1u) == 0 && __atomic_load_n(sequence, __ATOMIC_RELAXED) == before)
            return;
        if (tries < SEQLOCK_YIELDS)
            sched_yield();
        else
            sleep_us(SEQLOCK_SLEEP_US); /* the writer was descheduled in the middle */
    }
}

/* Microseconds since 1970 of a moment on CLOCK_MONOTONIC: what NVML stamps its samples with. */
uint64_t sim_epoch_us(uint64_t monotonic_ns) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    int64_t age_ns = (int64_t)(sim_now_ns() - monotonic_ns); /* negative in virtual time */
    return (uint64_t)(now_us - age_ns / 1000);
}

/* Waits on a word of the state file. Some kernels refuse a futex on a read-only mapping: then it
 * is polled. */
void sim_futex_wait(uint32_t *word, uint32_t seen, int64_t timeout_ns) {
    struct timespec wait = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    if (syscall(SYS_futex, word, FUTEX_WAIT, seen, &wait, NULL, 0) != 0 && errno == EFAULT)
        sleep_us(POLL_US);
}

static nvmlReturn_t forced_code(const wl_header *header, const char *symbol, uint32_t call_class,
                                uint32_t index) {
    uint32_t count = LOAD(header->forced_count);
    for (uint32_t i = 0; i < count && i < WL_FORCED_MAX; i++) {
        const wl_forced *rule = &header->forced[i];
        int about_gpu = rule->gpu == WL_ANY || rule->gpu == index;
        int about_call = rule->symbol[0] != '\0'
                             ? strncmp(rule->symbol, symbol, sizeof rule->symbol) == 0
                             : rule->call_class == call_class;
        if (about_gpu && about_call)
            return (nvmlReturn_t)rule->code;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t sim_enter_system(const char *symbol) {
    wl_state *state = sim_state();
    if (LOAD(users) == 0 || state == NULL)
        return NVML_ERROR_UNINITIALIZED;
    if (!LOAD(state->header.driver_loaded))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    return forced_code(&state->header, symbol, WL_ANY, WL_ANY);
}

static void wait_while_hung(wl_gpu *gpu) {
    uint32_t hung;
    while ((hung = LOAD(gpu->faults.hang)) != 0)
        sim_futex_wait(&gpu->faults.hang, hung, HANG_SLICE_NS);
}

/* Which GPU a handle is of, and which of its MIG devices; the handle of one that was destroyed is
 * no longer valid. */
static nvmlReturn_t resolve(nvmlDevice_t device, uint32_t *index, const wl_mig_instance **mig) {
    wl_state *state = sim_state();
    uintptr_t slot = (uintptr_t)device - (uintptr_t)devices;
    uintptr_t mig_slot = (uintptr_t)device - (uintptr_t)mig_devices;
    *mig = NULL;
    if (device != NULL && slot < state->header.gpu_count) {
        *index = (uint32_t)slot;
        return NVML_SUCCESS;
    }
    *index = (uint32_t)(mig_slot / WL_MIG_MAX);
    if (device == NULL || mig_slot >= (uintptr_t)state->header.gpu_count * WL_MIG_MAX)
        return NVML_ERROR_INVALID_ARGUMENT;
    wl_gpu *gpu = &state->gpus[*index];
    if (mig_slot % WL_MIG_MAX >= sim_mig_count(gpu))
        return NVML_ERROR_INVALID_ARGUMENT;
    *mig = &gpu->mig.instances[mig_slot % WL_MIG_MAX];
    return NVML_SUCCESS;
}

nvmlReturn_t sim_enter(nvmlDevice_t device, uint32_t call_class, const char *symbol, wl_gpu **gpu,
                       uint32_t *index) {
    const wl_mig_instance *mig;
    nvmlReturn_t result = sim_enter_either(device, call_class, symbol, gpu, index, &mig);
    return result == NVML_SUCCESS && mig != NULL ? NVML_ERROR_NOT_SUPPORTED : result;
}

nvmlReturn_t sim_enter_either(nvmlDevice_t device, uint32_t call_class, const char *symbol,
                              wl_gpu **gpu, uint32_t *index, const wl_mig_instance **mig) {
    nvmlReturn_t result = sim_enter_system(symbol);
    if (result != NVML_SUCCESS)
        return result;
    wl_state *state = sim_state();
    result = resolve(device, index, mig);
    if (result != NVML_SUCCESS)
        return result;
    *gpu = &state->gpus[*index];
    wait_while_hung(*gpu);
    uint32_t latency_us = LOAD((*gpu)->faults.latency_us[call_class]);
    if (latency_us != 0)
        sleep_us(latency_us);
    uint32_t lost = LOAD((*gpu)->faults.lost_return);
    if (lost != 0)
        return (nvmlReturn_t)lost;
    result = forced_code(&state->header, symbol, call_class, *index);
    if (result == NVML_SUCCESS && call_class == WL_CALL_SETTER &&
        (read_only || LOAD(state->header.no_permission)))
        result = NVML_ERROR_NO_PERMISSION;
    return result;
}

wl_telemetry sim_telemetry(const wl_gpu *gpu) {
    wl_telemetry copy;
    sim_read(&gpu->telemetry_seq, &gpu->telemetry, &copy, sizeof copy);
    return copy;
}

/* The card enforces the lowest of its own maximum, the host's request and the BMC's cap. */
uint32_t sim_enforced_limit_mw(const wl_gpu *gpu) {
    uint32_t limit = LOAD(gpu->setpoints.limit_mw);
    uint32_t oob = LOAD(gpu->faults.oob_limit_mw);
    if (gpu->identity.limit_max_mw < limit)
        limit = gpu->identity.limit_max_mw;
    return oob != 0 && oob < limit ? oob : limit;
}

nvmlReturn_t sim_copy_text(char *out, unsigned int size, const char *text) {
    REQUIRE(out);
    size_t length = strlen(text) + 1;
    if (length > size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(out, text, length);
    return NVML_SUCCESS;
}

/* The safety marker: no real driver exports it. Returns a JSON object, valid until this thread
 * calls again. heartbeat_age_ms is null while no physics process has ever run. */
EXPORT const char *nvmlsim_info(void) {
    static __thread char text[512];
    const wl_state *state = sim_state();
    if (state == NULL) {
        snprintf(text, sizeof text, "{\"simulator\":\"wattline\",\"attached\":false}");
        return text;
    }
    uint64_t beat = LOAD(state->header.heartbeat_ns), now = sim_now_ns();
    char age[32] = "null";
    if (beat != 0)
        snprintf(age, sizeof age, "%llu",
                 (unsigned long long)(now > beat ? (now - beat) / 1000000 : 0));
    snprintf(text, sizeof text,
             "{\"simulator\":\"wattline\",\"attached\":true,\"abi_version\":%u,\"node\":\"%.63s\","
             "\"driver_instance\":%llu,\"heartbeat_age_ms\":%s}",
             state->header.abi_version, state->header.node_name,
             (unsigned long long)LOAD(state->header.driver_instance), age);
    return text;
}
