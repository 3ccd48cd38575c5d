/* The writing side of the state file, for the physics process and the fault controls. It lives
 * here, not in Python, because sequence locks and rings need real memory ordering. */
#include <string.h>

#include "sim.h"

/* Publishes one block under its sequence lock. One writer only. */
EXPORT void nvmlsim_publish(uint32_t *sequence, void *target, const void *source, size_t size) {
    uint32_t odd = __atomic_load_n(sequence, __ATOMIC_RELAXED) | 1u;
    __atomic_store_n(sequence, odd, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy(target, source, size);
    STORE(*sequence, odd + 1u);
}

/* Pushes one event and wakes every waiter. Any number of writers. */
EXPORT void nvmlsim_push_event(wl_state *state, uint32_t gpu, uint64_t kind, uint64_t data) {
    wl_header *header = &state->header;
    uint64_t ticket = __atomic_add_fetch(&header->event_head, 1, __ATOMIC_ACQ_REL);
    wl_event *slot = &header->events[(ticket - 1) % WL_EVENTS_MAX];
    STORE(slot->ticket, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    slot->kind = kind;
    slot->data = data;
    slot->gpu = gpu;
    STORE(slot->ticket, ticket);
    __atomic_add_fetch(&header->event_futex, 1, __ATOMIC_ACQ_REL);
    sim_futex_wake(&header->event_futex);
}

/* Sets the hang knob of a GPU; releasing wakes the calls that sleep in it. */
EXPORT void nvmlsim_set_hang(wl_gpu *gpu, uint32_t hang) {
    STORE(gpu->faults.hang, hang);
    sim_futex_wake(&gpu->faults.hang);
}
