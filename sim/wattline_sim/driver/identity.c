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

/* A UUID is that of a GPU or of a MIG device. */
EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    ENTER_SYSTEM();
    REQUIRE(uuid);
    REQUIRE(device);
    const wl_state *state = sim_state();
    for (uint32_t i = 0; i < state->header.gpu_count; i++) {
        const wl_gpu *gpu = &state->gpus[i];
        for (uint32_t k = 0; k < sim_mig_count(gpu); k++) {
            if (strcasecmp(gpu->mig.instances[k].uuid, uuid) == 0) {
                *device = sim_mig_device(i, k);
                return NVML_SUCCESS;
            }
        }
    }
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
    ENTER_EITHER(device, WL_CALL_IDENTITY);
    REQUIRE(index);
    *index = mig != NULL ? sim_mig_number(gpu, mig) : gpu_index;
    return NVML_SUCCESS;
}

#define TEXT(function, field)                                                                      \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, char *out, unsigned int size) {              \
        ENTER(device, WL_CALL_IDENTITY);                                                           \
        return sim_copy_text(out, size, gpu->identity.field);                                      \
    }
TEXT(nvmlDeviceGetSerial, serial)
TEXT(nvmlDeviceGetVbiosVersion, vbios)

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned int size) {
    ENTER_EITHER(device, WL_CALL_IDENTITY);
    char name[sizeof gpu->identity.name + sizeof mig->profile + 8];
    if (mig != NULL)
        snprintf(name, sizeof name, "%s MIG %s", gpu->identity.name, mig->profile);
    else
        snprintf(name, sizeof name, "%s", gpu->identity.name);
    return sim_copy_text(out, size, name);
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned int size) {
    ENTER_EITHER(device, WL_CALL_IDENTITY);
    return sim_copy_text(out, size, mig != NULL ? mig->uuid : gpu->identity.uuid);
}

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
/* Zero where MIG is not supported or not enabled. */
NUMBER(nvmlDeviceGetMaxMigDeviceCount, WL_CALL_IDENTITY, LOAD(gpu->mig.enabled) ? WL_MIG_MAX : 0)

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
    ENTER_EITHER(device, WL_CALL_IDENTITY);
    REQUIRE(is_mig);
    *is_mig = mig != NULL;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current,
                                         unsigned int *pending) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(current);
    REQUIRE(pending);
    if (!gpu->identity.has_mig)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = LOAD(gpu->mig.enabled) ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index,
                                                        nvmlDevice_t *mig_device) {
    ENTER(device, WL_CALL_IDENTITY);
    REQUIRE(mig_device);
    if (!gpu->identity.has_mig || !LOAD(gpu->mig.enabled))
        return NVML_ERROR_NOT_SUPPORTED;
    if (index >= WL_MIG_MAX)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (index >= sim_mig_count(gpu))
        return NVML_ERROR_NOT_FOUND;
    *mig_device = sim_mig_device(gpu_index, index);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t device,
                                                                 nvmlDevice_t *parent) {
    ENTER_EITHER(device, WL_CALL_IDENTITY);
    REQUIRE(parent);
    if (mig == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    *parent = sim_device(gpu_index);
    return NVML_SUCCESS;
}

/* Each GPU instance has one compute instance, number 0. */
#define MIG_NUMBER(function, value)                                                                \
    EXPORT nvmlReturn_t function(nvmlDevice_t device, unsigned int *id) {                          \
        ENTER_EITHER(device, WL_CALL_IDENTITY);                                                    \
        REQUIRE(id);                                                                               \
        if (mig == NULL)                                                                           \
            return NVML_ERROR_NOT_SUPPORTED;                                                       \
        *id = (value);                                                                             \
        return NVML_SUCCESS;                                                                       \
    }
MIG_NUMBER(nvmlDeviceGetGpuInstanceId, mig->gpu_instance)
MIG_NUMBER(nvmlDeviceGetComputeInstanceId, 0)

/* Of MIG devices only. Engines other than slices and memory are not simulated. */
EXPORT nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device,
                                               nvmlDeviceAttributes_t *attributes) {
    ENTER_EITHER(device, WL_CALL_IDENTITY);
    REQUIRE(attributes);
    if (mig == NULL)
        return NVML_ERROR_NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpuInstanceSliceCount = attributes->computeInstanceSliceCount = mig->slices;
    attributes->memorySizeMB = mig->memory_bytes >> 20;
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
