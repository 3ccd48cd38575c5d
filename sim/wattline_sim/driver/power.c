/* Power, energy, clocks and why they are what they are, with the setters that change them. */
#include "sim.h"

#define SENSOR_NUMBER(function, type, value)                                                       \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, type *out) {                                 \
        ENTER(device, WL_CALL_SENSOR);                                                             \
        REQUIRE(out);                                                                              \
        *out = (value);                                                                            \
        return NVML_SUCCESS;                                                                       \
    }

/* The 1 s average, except on cards that report the instant (GA100). */
static unsigned int power_usage_mw(const wl_gpu *gpu) {
    wl_telemetry now = sim_telemetry(gpu);
    return gpu->identity.usage_is_instant ? now.power_instant_mw : now.power_average_mw;
}

SENSOR_NUMBER(nvmlDeviceGetPowerUsage, unsigned int, power_usage_mw(gpu))
SENSOR_NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long,
              sim_telemetry(gpu).energy_mj)
SENSOR_NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned int, sim_enforced_limit_mw(gpu))
SENSOR_NUMBER(nvmlDeviceGetPowerManagementLimit, unsigned int, LOAD(gpu->setpoints.limit_mw))
SENSOR_NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int,
              gpu->identity.limit_default_mw)
SENSOR_NUMBER(nvmlDeviceGetPowerManagementMode, unsigned int, NVML_FEATURE_ENABLED)
SENSOR_NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long,
              sim_telemetry(gpu).reasons)
SENSOR_NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long,
              sim_telemetry(gpu).reasons)
SENSOR_NUMBER(nvmlDeviceGetPerformanceState, unsigned int, sim_telemetry(gpu).pstate)
SENSOR_NUMBER(nvmlDeviceGetPowerState, unsigned int, sim_telemetry(gpu).pstate)
SENSOR_NUMBER(nvmlDeviceGetPersistenceMode, unsigned int, LOAD(gpu->setpoints.persistence))
SENSOR_NUMBER(nvmlDeviceGetComputeMode, unsigned int, LOAD(gpu->setpoints.compute_mode))

#define ALL_REASONS                                                                                \
    (nvmlClocksEventReasonGpuIdle | nvmlClocksEventReasonApplicationsClocksSetting |               \
     nvmlClocksEventReasonSwPowerCap | nvmlClocksEventReasonHwSlowdown |                           \
     nvmlClocksEventReasonSwThermalSlowdown | nvmlClocksEventReasonHwThermalSlowdown |             \
     nvmlClocksEventReasonHwPowerBrakeSlowdown)
SENSOR_NUMBER(nvmlDeviceGetSupportedClocksEventReasons, unsigned long long, ALL_REASONS)
SENSOR_NUMBER(nvmlDeviceGetSupportedClocksThrottleReasons, unsigned long long, ALL_REASONS)

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device,
                                                                 unsigned int *min_mw,
                                                                 unsigned int *max_mw) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(min_mw);
    REQUIRE(max_mw);
    *min_mw = gpu->identity.limit_min_mw;
    *max_mw = gpu->identity.limit_max_mw;
    return NVML_SUCCESS;
}

static nvmlReturn_t changed(wl_gpu *gpu) {
    __atomic_add_fetch(&gpu->setpoints.generation, 1, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device, unsigned int limit_mw) {
    ENTER(device, WL_CALL_SETTER);
    if (limit_mw < gpu->identity.limit_min_mw || limit_mw > gpu->identity.limit_max_mw)
        return NVML_ERROR_INVALID_ARGUMENT;
    STORE(gpu->setpoints.limit_mw, limit_mw);
    if (LOAD(gpu->faults.last_writer_wins))
        STORE(gpu->faults.oob_limit_mw, 0);
    return changed(gpu);
}

/* A range outside the card's clocks is drawn in to them, as the real driver does. */
EXPORT nvmlReturn_t nvmlDeviceSetGpuLockedClocks(nvmlDevice_t device, unsigned int min_mhz,
                                                 unsigned int max_mhz) {
    ENTER(device, WL_CALL_SETTER);
    const wl_identity *card = &gpu->identity;
    if (min_mhz > max_mhz || max_mhz == 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    STORE(gpu->setpoints.locked_min_mhz, min_mhz < card->sm_min_mhz ? card->sm_min_mhz : min_mhz);
    uint32_t top = max_mhz > card->sm_max_mhz ? card->sm_max_mhz : max_mhz;
    STORE(gpu->setpoints.locked_max_mhz, top < card->sm_min_mhz ? card->sm_min_mhz : top);
    return changed(gpu);
}

EXPORT nvmlReturn_t nvmlDeviceResetGpuLockedClocks(nvmlDevice_t device) {
    ENTER(device, WL_CALL_SETTER);
    STORE(gpu->setpoints.locked_min_mhz, 0);
    STORE(gpu->setpoints.locked_max_mhz, 0);
    return changed(gpu);
}

EXPORT nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t device, unsigned int mode) {
    ENTER(device, WL_CALL_SETTER);
    if (mode > NVML_FEATURE_ENABLED)
        return NVML_ERROR_INVALID_ARGUMENT;
    STORE(gpu->setpoints.persistence, mode);
    return changed(gpu);
}

EXPORT nvmlReturn_t nvmlDeviceSetComputeMode(nvmlDevice_t device, unsigned int mode) {
    ENTER(device, WL_CALL_SETTER);
    if (mode > NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
        return NVML_ERROR_INVALID_ARGUMENT;
    STORE(gpu->setpoints.compute_mode, mode);
    return changed(gpu);
}

EXPORT nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned int kind,
                                           unsigned int *mhz) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(mhz);
    wl_telemetry now = sim_telemetry(gpu);
    switch (kind) {
    case NVML_CLOCK_GRAPHICS:
    case NVML_CLOCK_SM:
    case NVML_CLOCK_VIDEO: *mhz = now.sm_mhz; return NVML_SUCCESS;
    case NVML_CLOCK_MEM: *mhz = now.mem_mhz; return NVML_SUCCESS;
    default: return NVML_ERROR_INVALID_ARGUMENT;
    }
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned int kind,
                                              unsigned int *mhz) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(mhz);
    if (kind > NVML_CLOCK_VIDEO)
        return NVML_ERROR_INVALID_ARGUMENT;
    *mhz = kind == NVML_CLOCK_MEM ? gpu->identity.mem_max_mhz : gpu->identity.sm_max_mhz;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedMemoryClocks(nvmlDevice_t device, unsigned int *count,
                                                       unsigned int *clocks_mhz) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(count);
    unsigned int room = *count;
    *count = 1;
    if (room < 1)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    REQUIRE(clocks_mhz);
    clocks_mhz[0] = gpu->identity.mem_max_mhz;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedGraphicsClocks(nvmlDevice_t device, unsigned int mem_mhz,
                                                         unsigned int *count,
                                                         unsigned int *clocks_mhz) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(count);
    const wl_identity *card = &gpu->identity;
    if (mem_mhz != card->mem_max_mhz)
        return NVML_ERROR_NOT_FOUND;
    unsigned int room = *count;
    *count = (card->sm_max_mhz - card->sm_min_mhz) / card->sm_step_mhz + 1;
    if (room < *count)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    REQUIRE(clocks_mhz);
    for (unsigned int i = 0; i < *count; i++)
        clocks_mhz[i] = card->sm_max_mhz - i * card->sm_step_mhz;
    return NVML_SUCCESS;
}
