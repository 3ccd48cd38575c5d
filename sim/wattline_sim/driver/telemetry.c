/* Temperature, utilisation, memory, processes and error counters. */
#include <string.h>

#include "sim.h"

EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned int sensor,
                                             unsigned int *celsius) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(celsius);
    if (sensor != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = (unsigned int)sim_telemetry(gpu).gpu_c;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_v1_t *reading) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(reading);
    if (reading->version != nvmlTemperature_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (reading->sensorType != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    reading->temperature = sim_telemetry(gpu).gpu_c;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMarginTemperature(nvmlDevice_t device,
                                                   nvmlMarginTemperature_v1_t *reading) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(reading);
    if (reading->version != nvmlMarginTemperature_v1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!gpu->identity.has_margin)
        return NVML_ERROR_NOT_SUPPORTED;
    reading->marginTemperature = (int)gpu->identity.gpu_max_c - sim_telemetry(gpu).gpu_c;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, unsigned int kind,
                                                      unsigned int *celsius) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(celsius);
    const wl_identity *card = &gpu->identity;
    switch (kind) {
    case NVML_TEMPERATURE_THRESHOLD_SHUTDOWN: *celsius = card->shutdown_c; return NVML_SUCCESS;
    case NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: *celsius = card->slowdown_c; return NVML_SUCCESS;
    case NVML_TEMPERATURE_THRESHOLD_GPU_MAX: *celsius = card->gpu_max_c; return NVML_SUCCESS;
    case NVML_TEMPERATURE_THRESHOLD_MEM_MAX:
        *celsius = card->mem_max_c;
        return card->has_memory_sensor ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    default:
        return kind < NVML_TEMPERATURE_THRESHOLD_COUNT ? NVML_ERROR_NOT_SUPPORTED
                                                       : NVML_ERROR_INVALID_ARGUMENT;
    }
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(rates);
    if (LOAD(gpu->mig.enabled))
        return NVML_ERROR_NOT_SUPPORTED; /* the driver measures no utilisation in MIG mode */
    wl_telemetry now = sim_telemetry(gpu);
    rates->gpu = now.gpu_percent;
    rates->memory = now.memory_percent;
    return NVML_SUCCESS;
}

#define ENGINE_UTILIZATION(function)                                                               \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, unsigned int *percent,                       \
                                 unsigned int *period_us) {                                        \
        ENTER(device, WL_CALL_SENSOR);                                                             \
        REQUIRE(percent);                                                                          \
        REQUIRE(period_us);                                                                        \
        if (LOAD(gpu->mig.enabled))                                                                \
            return NVML_ERROR_NOT_SUPPORTED;                                                       \
        *percent = 0; /* no profile uses the video engines */                                      \
        *period_us = 167000;                                                                       \
        return NVML_SUCCESS;                                                                       \
    }
ENGINE_UTILIZATION(nvmlDeviceGetEncoderUtilization)
ENGINE_UTILIZATION(nvmlDeviceGetDecoderUtilization)

static wl_process_list process_list(const wl_gpu *gpu) {
    wl_process_list list;
    sim_read(&gpu->processes_seq, &gpu->processes, &list, sizeof list);
    if (list.count > WL_PROCESSES_MAX)
        list.count = WL_PROCESSES_MAX;
    return list;
}

/* A process that the handle shows: all of a GPU, or those of one MIG device. */
static int is_shown(const wl_process *process, const wl_mig_instance *mig) {
    return mig == NULL || process->gpu_instance == mig->gpu_instance;
}

static uint64_t used_bytes(const wl_gpu *gpu, const wl_mig_instance *mig) {
    if (mig == NULL)
        return sim_telemetry(gpu).memory_used_bytes;
    wl_process_list list = process_list(gpu);
    uint64_t used = 0;
    for (uint32_t i = 0; i < list.count; i++)
        used += is_shown(&list.entries[i], mig) ? list.entries[i].memory_bytes : 0;
    return used;
}

static uint64_t reserved_bytes(const wl_gpu *gpu, const wl_mig_instance *mig) {
    return mig == NULL ? gpu->identity.reserved_bytes : 0;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    ENTER_EITHER(device, WL_CALL_SENSOR);
    REQUIRE(memory);
    uint64_t used = used_bytes(gpu, mig) + reserved_bytes(gpu, mig);
    memory->total = mig != NULL ? mig->memory_bytes : gpu->identity.memory_bytes;
    memory->used = used; /* version 1 counts what the driver reserves as used */
    memory->free = memory->total - used;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    ENTER_EITHER(device, WL_CALL_SENSOR);
    REQUIRE(memory);
    if (memory->version != nvmlMemory_v2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memory->total = mig != NULL ? mig->memory_bytes : gpu->identity.memory_bytes;
    memory->reserved = reserved_bytes(gpu, mig);
    memory->used = used_bytes(gpu, mig);
    memory->free = memory->total - memory->reserved - memory->used;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *memory) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(memory);
    memory->bar1Total = gpu->identity.bar1_bytes;
    memory->bar1Used = 1u << 20;
    memory->bar1Free = memory->bar1Total - memory->bar1Used;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, unsigned int counter,
                                                unsigned int *kib_per_s) {
    ENTER(device, WL_CALL_PCIE);
    REQUIRE(kib_per_s);
    wl_telemetry now = sim_telemetry(gpu);
    if (counter != NVML_PCIE_UTIL_TX_BYTES && counter != NVML_PCIE_UTIL_RX_BYTES)
        return NVML_ERROR_INVALID_ARGUMENT;
    *kib_per_s = counter == NVML_PCIE_UTIL_TX_BYTES ? now.pcie_tx_kib_s : now.pcie_rx_kib_s;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device,
                                                            unsigned int *count,
                                                            nvmlProcessInfo_t *processes) {
    ENTER_EITHER(device, WL_CALL_PROCESSES);
    REQUIRE(count);
    wl_process_list list = process_list(gpu);
    unsigned int room = *count;
    *count = 0;
    for (uint32_t i = 0; i < list.count; i++)
        *count += is_shown(&list.entries[i], mig);
    if (room < *count)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (uint32_t i = 0, shown = 0; i < list.count; i++) {
        const wl_process *one = &list.entries[i];
        if (!is_shown(one, mig))
            continue;
        int is_whole = one->gpu_instance == WL_NO_INSTANCE;
        processes[shown++] = (nvmlProcessInfo_t){
            .pid = one->pid,
            .usedGpuMemory = one->memory_bytes,
            .gpuInstanceId = one->gpu_instance,
            .computeInstanceId = is_whole ? UINT32_MAX : 0,
        };
    }
    return NVML_SUCCESS;
}

#define NO_PROCESSES(function)                                                                     \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, unsigned int *count,                         \
                                 nvmlProcessInfo_t *processes) {                                   \
        ENTER(device, WL_CALL_PROCESSES);                                                          \
        REQUIRE(count);                                                                            \
        (void)processes;                                                                           \
        *count = 0;                                                                                \
        return NVML_SUCCESS;                                                                       \
    }
NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)

EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                                    nvmlProcessUtilizationSample_t *samples,
                                                    unsigned int *count,
                                                    unsigned long long since_us) {
    ENTER(device, WL_CALL_PROCESSES);
    REQUIRE(count);
    if (LOAD(gpu->mig.enabled))
        return NVML_ERROR_NOT_SUPPORTED; /* the driver measures no utilisation in MIG mode */
    wl_process_list list = process_list(gpu);
    uint64_t sample_us = sim_epoch_us(list.sample_ns);
    if (list.count == 0 || sample_us <= since_us)
        return NVML_ERROR_NOT_FOUND; /* SUCCESS with no samples makes pynvml raise "Success" */
    unsigned int room = *count;
    *count = list.count;
    if (samples == NULL || room < list.count)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    wl_telemetry now = sim_telemetry(gpu);
    for (uint32_t i = 0; i < list.count; i++) {
        samples[i] = (nvmlProcessUtilizationSample_t){0};
        samples[i].pid = list.entries[i].pid;
        samples[i].timeStamp = sample_us;
        samples[i].smUtil = list.entries[i].sm_percent;
        samples[i].memUtil = now.memory_percent / list.count;
    }
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, unsigned int *current,
                                         unsigned int *pending) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(current);
    REQUIRE(pending);
    *current = *pending = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}

static nvmlReturn_t ecc_total(const wl_gpu *gpu, unsigned int kind, unsigned int lifetime,
                              unsigned long long *errors) {
    const wl_health *health = &gpu->health;
    REQUIRE(errors);
    if (kind > NVML_MEMORY_ERROR_TYPE_UNCORRECTED || lifetime > 1)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (kind == NVML_MEMORY_ERROR_TYPE_CORRECTED)
        *errors = lifetime ? LOAD(health->corrected_aggregate) : LOAD(health->corrected_volatile);
    else
        *errors =
            lifetime ? LOAD(health->uncorrected_aggregate) : LOAD(health->uncorrected_volatile);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, unsigned int kind,
                                                unsigned int lifetime,
                                                unsigned long long *errors) {
    ENTER(device, WL_CALL_SENSOR);
    return ecc_total(gpu, kind, lifetime, errors);
}

/* Every simulated error is one of the device memory. */
EXPORT nvmlReturn_t nvmlDeviceGetMemoryErrorCounter(nvmlDevice_t device, unsigned int kind,
                                                    unsigned int lifetime, unsigned int location,
                                                    unsigned long long *errors) {
    ENTER(device, WL_CALL_SENSOR);
    if (location >= NVML_MEMORY_LOCATION_COUNT)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t result = ecc_total(gpu, kind, lifetime, errors);
    if (result == NVML_SUCCESS && location != NVML_MEMORY_LOCATION_DEVICE_MEMORY)
        *errors = 0;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected,
                                              unsigned int *uncorrected, unsigned int *is_pending,
                                              unsigned int *has_failed) {
    ENTER(device, WL_CALL_SENSOR);
    if (corrected == NULL || uncorrected == NULL || is_pending == NULL || has_failed == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *corrected = LOAD(gpu->health.rows_corrected);
    *uncorrected = LOAD(gpu->health.rows_uncorrected);
    *is_pending = LOAD(gpu->health.rows_pending);
    *has_failed = LOAD(gpu->health.rows_failed);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPcieReplayCounter(nvmlDevice_t device, unsigned int *replays) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(replays);
    *replays = LOAD(gpu->health.pcie_replays);
    return NVML_SUCCESS;
}
