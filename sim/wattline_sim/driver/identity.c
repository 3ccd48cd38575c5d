/* Who the system and its GPUs are: counts, handles, names, addresses, modes that never change. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

EXPORT const char *nvmlErrorString(nvmlReturn_t code) {
    switch (code) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_FUNCTION_NOT_FOUND: return "Function Not Found";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
    case NVML_ERROR_OPERATING_SYSTEM: return "The operating system refused";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_ERROR_MEMORY: return "Insufficient Memory";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int size) {
    ENTER_SYSTEM();
    return sim_copy_text(version, size, sim_state()->header.driver_version);
}

EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int size) {
    ENTER_SYSTEM();
    return sim_copy_text(version, size, sim_state()->header.nvml_version);
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER_SYSTEM();
    REQUIRE(version);
    *version = sim_state()->header.cuda_version;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

EXPORT nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int size) {
    ENTER_SYSTEM();
    char path[48], text[256];
    snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NVML_ERROR_NOT_FOUND;
    char *read = fgets(text, sizeof text, file);
    fclose(file);
    if (read == NULL)
        return NVML_ERROR_NOT_FOUND;
    text[strcspn(text, "\n")] = '\0';
    return sim_copy_text(name, size, text);
}

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    ENTER_SYSTEM();
    REQUIRE(count);
    *count = sim_state()->header.gpu_count;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }

/* A lookup touches the GPU, so a lost one fails here too, and only that one. */
EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    REQUIRE(device);
    if (index >= sim_state()->header.gpu_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    ENTER(sim_device(index), WL_CALL_IDENTITY);
    *device = sim_device(index);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

static nvmlReturn_t handle_by_text(size_t offset, const char *wanted, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    REQUIRE(wanted);
    const wl_state *state = sim_state();
    for (uint32_t i = 0; i < state->header.gpu_count; i++) {
        if (strcasecmp((const char *)&state->gpus[i].identity + offset, wanted) == 0)
            return nvmlDeviceGetHandleByIndex_v2(i, device);
    }
    return NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    return handle_by_text(offsetof(wl_identity, uuid), uuid, device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device) {
    return handle_by_text(offsetof(wl_identity, serial), serial, device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device) {
    REQUIRE(bus_id);
    char full[32]; /* the domain may be written with four digits or with eight */
    const char *colon = strchr(bus_id, ':');
    int pad = colon != NULL && colon - bus_id < 8 ? (int)(8 - (colon - bus_id)) : 0;
    snprintf(full, sizeof full, "%.*s%.20s", pad, "00000000", bus_id);
    return handle_by_text(offsetof(wl_identity, bus_id), full, device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *bus_id, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}

EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(index);
    *index = gpu_index;
    return NVML_SUCCESS;
}

#define TEXT(function, field)                                                                      \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, char *out, unsigned int size) {              \
        ENTER(device, WL_CALL_IDENTITY);                                                           \
        return sim_copy_text(out, size, gpu->identity.field);                                      \
    }
TEXT(nvmlDeviceGetName, name)
TEXT(nvmlDeviceGetUUID, uuid)
TEXT(nvmlDeviceGetSerial, serial)
TEXT(nvmlDeviceGetVbiosVersion, vbios)

#define NUMBER(function, call_class, value)                                                        \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, unsigned int *out) {                         \
        ENTER(device, call_class);                                                                 \
        REQUIRE(out);                                                                              \
        *out = (value);                                                                            \
        return NVML_SUCCESS;                                                                       \
    }
NUMBER(nvmlDeviceGetMinorNumber, WL_CALL_IDENTITY, gpu->identity.minor_number)
NUMBER(nvmlDeviceGetBrand, WL_CALL_IDENTITY, gpu->identity.brand)
NUMBER(nvmlDeviceGetArchitecture, WL_CALL_IDENTITY, gpu->identity.architecture)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, WL_CALL_IDENTITY, gpu->identity.pcie_generation)
NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, WL_CALL_IDENTITY, gpu->identity.pcie_generation)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, WL_CALL_IDENTITY, gpu->identity.pcie_generation)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, WL_CALL_IDENTITY, gpu->identity.pcie_width)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, WL_CALL_IDENTITY, gpu->identity.pcie_width)
NUMBER(nvmlDeviceGetDisplayActive, WL_CALL_IDENTITY, NVML_FEATURE_DISABLED)
NUMBER(nvmlDeviceGetDisplayMode, WL_CALL_IDENTITY, NVML_FEATURE_DISABLED)
NUMBER(nvmlDeviceGetMultiGpuBoard, WL_CALL_IDENTITY, 0)
NUMBER(nvmlDeviceGetNumFans, WL_CALL_IDENTITY, 0)
NUMBER(nvmlDeviceGetMaxMigDeviceCount, WL_CALL_IDENTITY, 0)

EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major,
                                                       int *minor) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(major);
    REQUIRE(minor);
    *major = (int)gpu->identity.compute_major;
    *minor = (int)gpu->identity.compute_minor;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(pci);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "%s", gpu->identity.bus_id);
    /* The legacy form has a four-digit domain. */
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%.15s", gpu->identity.bus_id + 4);
    pci->bus = gpu->identity.pci_bus;
    pci->pciDeviceId = gpu->identity.pci_device_id;
    pci->pciSubSystemId = gpu->identity.pci_subsystem_id;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(is_mig);
    *is_mig = 0;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current,
                                         unsigned int *pending) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(current);
    REQUIRE(pending);
    if (!gpu->identity.has_mig)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = 0;
    return NVML_SUCCESS;
}

/* Symbols that clients expect to find, for things these cards do not have (a driver model outside
 * Windows, fans on passively cooled boards). A missing symbol would say something else. */
#define NOT_SUPPORTED_PAIR(function)                                                               \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, unsigned int *current,                       \
                                 unsigned int *pending) {                                          \
        ENTER(device, WL_CALL_IDENTITY);                                                           \
        REQUIRE(current);                                                                          \
        REQUIRE(pending);                                                                          \
        return NVML_ERROR_NOT_SUPPORTED;                                                           \
    }
NOT_SUPPORTED_PAIR(nvmlDeviceGetDriverModel)
NOT_SUPPORTED_PAIR(nvmlDeviceGetDriverModel_v2)

EXPORT nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, unsigned int *percent) {
    ENTER(device, WL_CALL_SENSOR);
    REQUIRE(percent);
    return NVML_ERROR_NOT_SUPPORTED;
}

/* Profiling counters are not simulated yet, and this call says so. */
EXPORT nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(support);
    support->isSupportedDevice = 0;
    return NVML_SUCCESS;
}
