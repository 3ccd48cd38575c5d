/* What the parts of the simulated driver library share. The library is a stateless view on a
 * mapped state file; see wattline_sim/state.py for who may write which field. */
#ifndef WL_SIM_H
#define WL_SIM_H

#include "nvml_types.h"
#include "state_layout.h"

#define EXPORT __attribute__((visibility("default")))
#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

typedef int nvmlReturn_t;
typedef struct wl_device *nvmlDevice_t;
typedef struct wl_event_set *nvmlEventSet_t;

/* The mapped state, or NULL before the first successful nvmlInit. It is never unmapped, because
 * another thread may be inside a call while the last nvmlShutdown runs. */
wl_state *sim_state(void);

/* The device slot of a GPU, and back. */
nvmlDevice_t sim_device(uint32_t index);

/* Every call on a GPU begins here: checks the library and the handle, then lets faults act
 * (forced code, hang, latency, lost GPU, permission). On success *gpu is set. */
nvmlReturn_t sim_enter(nvmlDevice_t device, uint32_t call_class, const char *symbol, wl_gpu **gpu,
                       uint32_t *index);

/* The same for calls that a MIG device takes as well: *mig is NULL for a whole GPU. All others
 * answer a MIG device with NOT_SUPPORTED. */
nvmlReturn_t sim_enter_either(nvmlDevice_t device, uint32_t call_class, const char *symbol,
                              wl_gpu **gpu, uint32_t *index, const wl_mig_instance **mig);

/* The handle of a MIG device of a GPU, and its number there. */
nvmlDevice_t sim_mig_device(uint32_t gpu_index, uint32_t number);
uint32_t sim_mig_number(const wl_gpu *gpu, const wl_mig_instance *mig);

/* How many MIG devices a GPU has now. */
uint32_t sim_mig_count(const wl_gpu *gpu);

/* The same for calls on the system as a whole. */
nvmlReturn_t sim_enter_system(const char *symbol);

/* Copies what a sequence lock guards. After a bounded number of tries (the writer died in the
 * middle) the last copy is kept: stale numbers are a fault to serve, a spinning client is not. */
void sim_read(const uint32_t *sequence, const void *source, void *copy, size_t size);

wl_telemetry sim_telemetry(const wl_gpu *gpu);
uint32_t sim_enforced_limit_mw(const wl_gpu *gpu);
nvmlReturn_t sim_copy_text(char *out, unsigned int size, const char *text);
void sim_futex_wait(uint32_t *word, uint32_t seen, int64_t timeout_ns);
void sim_futex_wake(uint32_t *word);
uint64_t sim_now_ns(void);
uint64_t sim_epoch_us(uint64_t monotonic_ns);

#define ENTER(device, call_class)                                                                  \
    wl_gpu *gpu;                                                                                   \
    uint32_t gpu_index;                                                                            \
    do {                                                                                           \
        nvmlReturn_t entered = sim_enter(device, call_class, __func__, &gpu, &gpu_index);          \
        if (entered != NVML_SUCCESS)                                                               \
            return entered;                                                                        \
        (void)gpu;                                                                                 \
        (void)gpu_index;                                                                           \
    } while (0)

#define ENTER_EITHER(device, call_class)                                                           \
    wl_gpu *gpu;                                                                                   \
    uint32_t gpu_index;                                                                            \
    const wl_mig_instance *mig;                                                                    \
    do {                                                                                           \
        nvmlReturn_t entered =                                                                     \
            sim_enter_either(device, call_class, __func__, &gpu, &gpu_index, &mig);                \
        if (entered != NVML_SUCCESS)                                                               \
            return entered;                                                                        \
        (void)gpu;                                                                                 \
        (void)gpu_index;                                                                           \
    } while (0)

#define ENTER_SYSTEM()                                                                             \
    do {                                                                                           \
        nvmlReturn_t entered = sim_enter_system(__func__);                                         \
        if (entered != NVML_SUCCESS)                                                               \
            return entered;                                                                        \
    } while (0)

#define REQUIRE(pointer)                                                                           \
    do {                                                                                           \
        if ((pointer) == NULL)                                                                     \
            return NVML_ERROR_INVALID_ARGUMENT;                                                    \
    } while (0)

#endif
