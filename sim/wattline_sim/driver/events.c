/* Event sets: a cursor over the ring of the state file, sleeping on its futex. */
#include <stdlib.h>

#include "sim.h"

#define SUPPORTED_EVENTS                                                                           \
    (nvmlEventTypeSingleBitEccError | nvmlEventTypeDoubleBitEccError |                             \
     nvmlEventTypeXidCriticalError | nvmlEventTypePState | nvmlEventTypeClock)

struct wl_event_set {
    uint64_t cursor; /* the ticket of the last event looked at */
    uint64_t driver_instance; /* it was made under; of a driver loaded later it gets no event */
    uint64_t wanted[WL_GPUS_MAX];
};

EXPORT nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device,
                                                     unsigned long long *kinds) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(kinds);
    *kinds = SUPPORTED_EVENTS;
    return NVML_SUCCESS;
}

/* Events begin here: as with the real library, what happened before is not told. */
EXPORT nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    ENTER_SYSTEM();
    REQUIRE(set);
    *set = calloc(1, sizeof **set);
    if (*set == NULL)
        return NVML_ERROR_MEMORY;
    (*set)->cursor = LOAD(sim_state()->header.event_head);
    (*set)->driver_instance = LOAD(sim_state()->header.driver_instance);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long kinds,
                                             nvmlEventSet_t set) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(set);
    if ((kinds & ~(unsigned long long)SUPPORTED_EVENTS) != 0)
        return NVML_ERROR_NOT_SUPPORTED;
    __atomic_or_fetch(&set->wanted[gpu_index], kinds, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

/* Takes the next event that this set wants, if there is one. */
static int take(nvmlEventSet_t set, wl_header *header, nvmlEventData_t *data) {
    uint64_t head = LOAD(header->event_head);
    if (LOAD(header->driver_instance) != set->driver_instance)
        return 0;
    if (head - set->cursor > WL_EVENTS_MAX)
        set->cursor = head - WL_EVENTS_MAX;
    while (set->cursor < head) {
        const wl_event *slot = &header->events[set->cursor % WL_EVENTS_MAX];
        uint64_t ticket = LOAD(slot->ticket);
        if (ticket == 0 || ticket <= set->cursor)
            return 0; /* its writer is not done; its wake-up is still to come */
        wl_event event = *slot;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        int overwritten = LOAD(slot->ticket) != set->cursor + 1;
        set->cursor++;
        if (overwritten || event.gpu >= header->gpu_count ||
            (LOAD(set->wanted[event.gpu]) & event.kind) == 0)
            continue;
        *data = (nvmlEventData_t){0};
        data->device = sim_device(event.gpu);
        data->eventType = event.kind;
        data->eventData = event.data;
        data->gpuInstanceId = data->computeInstanceId = UINT32_MAX;
        return 1;
    }
    return 0;
}

EXPORT nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data,
                                        unsigned int timeout_ms) {
    ENTER_SYSTEM();
    REQUIRE(set);
    REQUIRE(data);
    wl_header *header = &sim_state()->header;
    uint64_t deadline = sim_now_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        uint32_t seen = LOAD(header->event_futex);
        if (take(set, header, data))
            return NVML_SUCCESS;
        int64_t left = (int64_t)(deadline - sim_now_ns());
        if (left <= 0)
            return NVML_ERROR_TIMEOUT;
        sim_futex_wait(&header->event_futex, seen, left);
    }
}

EXPORT nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    ENTER_SYSTEM();
    REQUIRE(set);
    free(set);
    return NVML_SUCCESS;
}
