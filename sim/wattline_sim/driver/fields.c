/* nvmlDeviceGetFieldValues: many readings of one consistent sample in one call. */
#include "sim.h"

static void as_uint(nvmlFieldValue_t *field, uint32_t value) {
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field->value.uiVal = value;
}

static void as_ulonglong(nvmlFieldValue_t *field, uint64_t value) {
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field->value.ullVal = value;
}

static void as_int(nvmlFieldValue_t *field, int32_t value) {
    field->valueType = NVML_VALUE_TYPE_SIGNED_INT;
    field->value.siVal = value;
}

static nvmlReturn_t power_field(nvmlFieldValue_t *field, const wl_gpu *gpu,
                                const wl_telemetry *now) {
    switch (field->fieldId) {
    case NVML_FI_DEV_POWER_AVERAGE:
        if (gpu->identity.usage_is_instant)
            return NVML_ERROR_NOT_SUPPORTED;
        as_uint(field, now->power_average_mw);
        break;
    case NVML_FI_DEV_POWER_INSTANT: as_uint(field, now->power_instant_mw); break;
    case NVML_FI_DEV_POWER_MIN_LIMIT: as_uint(field, gpu->identity.limit_min_mw); break;
    case NVML_FI_DEV_POWER_MAX_LIMIT: as_uint(field, gpu->identity.limit_max_mw); break;
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT: as_uint(field, gpu->identity.limit_default_mw); break;
    case NVML_FI_DEV_POWER_CURRENT_LIMIT: as_uint(field, sim_enforced_limit_mw(gpu)); break;
    case NVML_FI_DEV_POWER_REQUESTED_LIMIT: as_uint(field, LOAD(gpu->setpoints.limit_mw)); break;
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
    case NVML_FI_DEV_ENERGY: as_ulonglong(field, now->energy_mj); break;
    case NVML_FI_DEV_PERF_POLICY_POWER: as_ulonglong(field, now->power_capped_ns); break;
    case NVML_FI_DEV_PERF_POLICY_THERMAL:
        as_ulonglong(field, now->software_thermal_ns + now->hardware_thermal_ns);
        break;
    case NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN:
        as_ulonglong(field, now->software_thermal_ns);
        break;
    case NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN:
        as_ulonglong(field, now->hardware_thermal_ns);
        break;
    case NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN:
        as_ulonglong(field, now->power_brake_ns);
        break;
    default: return NVML_ERROR_NOT_FOUND;
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t health_field(nvmlFieldValue_t *field, const wl_gpu *gpu) {
    const wl_health *health = &gpu->health;
    switch (field->fieldId) {
    case NVML_FI_DEV_ECC_CURRENT:
    case NVML_FI_DEV_ECC_PENDING: as_uint(field, NVML_FEATURE_ENABLED); break;
    case NVML_FI_DEV_ECC_SBE_VOL_TOTAL: as_ulonglong(field, LOAD(health->corrected_volatile)); break;
    case NVML_FI_DEV_ECC_DBE_VOL_TOTAL:
        as_ulonglong(field, LOAD(health->uncorrected_volatile));
        break;
    case NVML_FI_DEV_ECC_SBE_AGG_TOTAL:
        as_ulonglong(field, LOAD(health->corrected_aggregate));
        break;
    case NVML_FI_DEV_ECC_DBE_AGG_TOTAL:
        as_ulonglong(field, LOAD(health->uncorrected_aggregate));
        break;
    case NVML_FI_DEV_REMAPPED_COR: as_uint(field, LOAD(health->rows_corrected)); break;
    case NVML_FI_DEV_REMAPPED_UNC: as_uint(field, LOAD(health->rows_uncorrected)); break;
    case NVML_FI_DEV_REMAPPED_PENDING: as_uint(field, LOAD(health->rows_pending)); break;
    case NVML_FI_DEV_REMAPPED_FAILURE: as_uint(field, LOAD(health->rows_failed)); break;
    case NVML_FI_DEV_PCIE_REPLAY_COUNTER: as_uint(field, LOAD(health->pcie_replays)); break;
    case NVML_FI_DEV_GET_GPU_RECOVERY_ACTION:
        as_uint(field, LOAD(gpu->faults.recovery_action));
        break;
    default: return NVML_ERROR_NOT_FOUND;
    }
    return NVML_SUCCESS;
}

/* Newer cards give temperatures as the distance to the point where clocks first drop. */
static nvmlReturn_t thermal_field(nvmlFieldValue_t *field, const wl_gpu *gpu,
                                  const wl_telemetry *now) {
    const wl_identity *card = &gpu->identity;
    if (field->fieldId == NVML_FI_DEV_MEMORY_TEMP && card->has_memory_sensor) {
        as_uint(field, (uint32_t)now->memory_c);
        return NVML_SUCCESS;
    }
    if (!card->has_margin)
        return NVML_ERROR_NOT_FOUND;
    int32_t reference = (int32_t)card->gpu_max_c;
    switch (field->fieldId) {
    case NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT:
        as_int(field, reference - (int32_t)card->shutdown_c);
        break;
    case NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT:
        as_int(field, reference - (int32_t)card->slowdown_c);
        break;
    case NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT: as_int(field, 0); break;
    default: return NVML_ERROR_NOT_FOUND;
    }
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count,
                                             nvmlFieldValue_t *fields) {
    ENTER(device, WL_CALL_FIELDS);
    REQUIRE(fields);
    if (count <= 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    wl_telemetry now = sim_telemetry(gpu);
    int64_t sampled_us = (int64_t)sim_epoch_us(now.sample_ns);
    for (int i = 0; i < count; i++) {
        nvmlFieldValue_t *field = &fields[i];
        field->timestamp = sampled_us;
        field->latencyUsec = 0;
        field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        field->value.ullVal = 0;
        nvmlReturn_t found = power_field(field, gpu, &now);
        if (found == NVML_ERROR_NOT_FOUND)
            found = health_field(field, gpu);
        if (found == NVML_ERROR_NOT_FOUND)
            found = thermal_field(field, gpu, &now);
        field->nvmlReturn =
            (uint32_t)(found == NVML_ERROR_NOT_FOUND ? NVML_ERROR_NOT_SUPPORTED : found);
    }
    return NVML_SUCCESS;
}
