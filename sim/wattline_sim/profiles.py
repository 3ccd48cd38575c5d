"""What is simulated: GPU models, the host around them, and the loads that run on them.

Limits, idle power, thresholds and clocks follow a reviewed public catalogue where there is one;
thermal resistances and host figures are estimates until recorded on hardware.
"""

from dataclasses import dataclass

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30


class UnknownNameError(ValueError):
    """No GPU model or load profile of that name; the message lists those that exist."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One kind of GPU. ``rth_c_per_w`` is die to air in steady state, of a typical card."""

    key: str
    display_name: str
    limit_min_w: int
    limit_default_w: int
    limit_max_w: int
    idle_w: float
    gpu_max_c: int  # software slowdown begins
    slowdown_c: int  # hardware slowdown begins
    shutdown_c: int
    mem_max_c: int
    rth_c_per_w: float
    sm_min_mhz: int
    sm_max_mhz: int
    sm_idle_mhz: int
    mem_mhz: int
    memory_bytes: int
    reserved_bytes: int
    bar1_bytes: int
    architecture: int  # NVML's numbers: 5 Volta, 7 Ampere, 8 Ada, 9 Hopper, 10 Blackwell
    compute_capability: tuple[int, int]
    pci_device_id: int
    pcie_generation: int
    has_memory_sensor: bool
    has_margin: bool  # reports the margin to the limit as well as absolute temperatures
    has_mig: bool
    usage_is_instant: bool  # nvmlDeviceGetPowerUsage is the instant, not the 1 s average


SM_STEP_MHZ = 15

GPU_MODELS: dict[str, GpuModel] = {
    model.key: model
    for model in (
        GpuModel(
            key="h100",
            display_name="NVIDIA H100 80GB HBM3",
            limit_min_w=200,
            limit_default_w=700,
            limit_max_w=700,
            idle_w=90.0,
            gpu_max_c=85,
            slowdown_c=87,
            shutdown_c=92,
            mem_max_c=95,
            rth_c_per_w=0.064,
            sm_min_mhz=345,
            sm_max_mhz=1980,
            sm_idle_mhz=345,
            mem_mhz=2619,
            memory_bytes=81559 * MEBIBYTE,
            reserved_bytes=551 * MEBIBYTE,
            bar1_bytes=128 * GIBIBYTE,
            architecture=9,
            compute_capability=(9, 0),
            pci_device_id=0x233010DE,
            pcie_generation=5,
            has_memory_sensor=True,
            has_margin=True,
            has_mig=True,
            usage_is_instant=False,
        ),
        GpuModel(
            key="a100",
            display_name="NVIDIA A100-SXM4-80GB",
            limit_min_w=100,
            limit_default_w=400,
            limit_max_w=400,
            idle_w=64.0,
            gpu_max_c=87,
            slowdown_c=89,
            shutdown_c=92,
            mem_max_c=95,
            rth_c_per_w=0.10,
            sm_min_mhz=210,
            sm_max_mhz=1410,
            sm_idle_mhz=210,
            mem_mhz=1593,
            memory_bytes=81920 * MEBIBYTE,
            reserved_bytes=613 * MEBIBYTE,
            bar1_bytes=128 * GIBIBYTE,
            architecture=7,
            compute_capability=(8, 0),
            pci_device_id=0x20B210DE,
            pcie_generation=4,
            has_memory_sensor=True,
            has_margin=False,
            has_mig=True,
            usage_is_instant=True,
        ),
        GpuModel(
            key="l40s",
            display_name="NVIDIA L40S",
            limit_min_w=100,
            limit_default_w=350,
            limit_max_w=350,
            idle_w=35.0,
            gpu_max_c=91,
            slowdown_c=93,
            shutdown_c=96,
            mem_max_c=95,
            rth_c_per_w=0.13,
            sm_min_mhz=210,
            sm_max_mhz=2520,
            sm_idle_mhz=210,
            mem_mhz=9001,
            memory_bytes=46068 * MEBIBYTE,
            reserved_bytes=475 * MEBIBYTE,
            bar1_bytes=64 * GIBIBYTE,
            architecture=8,
            compute_capability=(8, 9),
            pci_device_id=0x26B910DE,
            pcie_generation=4,
            has_memory_sensor=False,
            has_margin=True,
            has_mig=False,
            usage_is_instant=False,
        ),
        GpuModel(
            key="b200",
            display_name="NVIDIA B200",
            limit_min_w=200,
            limit_default_w=1000,
            limit_max_w=1000,
            idle_w=130.0,
            gpu_max_c=88,
            slowdown_c=90,
            shutdown_c=95,
            mem_max_c=98,
            rth_c_per_w=0.045,
            sm_min_mhz=120,
            sm_max_mhz=2100,
            sm_idle_mhz=120,
            mem_mhz=3996,
            memory_bytes=183359 * MEBIBYTE,
            reserved_bytes=1152 * MEBIBYTE,
            bar1_bytes=256 * GIBIBYTE,
            architecture=10,
            compute_capability=(10, 0),
            pci_device_id=0x290110DE,
            pcie_generation=5,
            has_memory_sensor=True,
            has_margin=True,
            has_mig=True,
            usage_is_instant=False,
        ),
        GpuModel(
            key="a40",
            display_name="NVIDIA A40",
            limit_min_w=100,
            limit_default_w=300,
            limit_max_w=300,
            idle_w=30.0,
            gpu_max_c=88,
            slowdown_c=95,
            shutdown_c=98,
            mem_max_c=95,
            rth_c_per_w=0.15,
            sm_min_mhz=210,
            sm_max_mhz=1740,
            sm_idle_mhz=210,
            mem_mhz=7251,
            memory_bytes=46068 * MEBIBYTE,
            reserved_bytes=475 * MEBIBYTE,
            bar1_bytes=64 * GIBIBYTE,
            architecture=7,
            compute_capability=(8, 6),
            pci_device_id=0x223510DE,
            pcie_generation=4,
            has_memory_sensor=False,
            has_margin=False,
            has_mig=False,
            usage_is_instant=False,
        ),
        GpuModel(
            key="v100",
            display_name="Tesla V100-PCIE-32GB",
            limit_min_w=100,
            limit_default_w=250,
            limit_max_w=250,
            idle_w=36.0,
            gpu_max_c=83,
            slowdown_c=87,
            shutdown_c=90,
            mem_max_c=85,
            rth_c_per_w=0.16,
            sm_min_mhz=135,
            sm_max_mhz=1380,
            sm_idle_mhz=135,
            mem_mhz=877,
            memory_bytes=32768 * MEBIBYTE,
            reserved_bytes=260 * MEBIBYTE,
            bar1_bytes=32 * GIBIBYTE,
            architecture=5,
            compute_capability=(7, 0),
            pci_device_id=0x1DB610DE,
            pcie_generation=3,
            has_memory_sensor=True,
            has_margin=False,
            has_mig=False,
            usage_is_instant=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """What a load asks of a GPU that nothing limits.

    ``high`` and ``low`` are its draw as shares of TDP in the busy and the slack part of one
    period (an iteration, a batch); ``busy_share`` is the busy part's share of ``period_s``.
    ``memory_bound`` is the share of the draw above idle that follows memory traffic instead of
    core clocks; it falls only once clocks are below ``knee`` of their maximum.
    """

    name: str
    high: float
    low: float
    period_s: float
    busy_share: float
    memory_bound: float
    knee: float
    gpu_percent: int
    memory_percent: int
    memory_share: float  # of the card's memory
    pcie_mib_s: int

    @property
    def mean(self) -> float:
        """Draw as a share of TDP, over a whole period."""
        return self.high * self.busy_share + self.low * (1.0 - self.busy_share)


LOAD_PROFILES: dict[str, LoadProfile] = {
    profile.name: profile
    for profile in (
        LoadProfile("training-hot", 1.00, 0.66, 1.2, 0.85, 0.20, 1.0, 99, 62, 0.85, 900),
        LoadProfile("training-light", 0.68, 0.46, 0.6, 0.70, 0.25, 1.0, 88, 40, 0.55, 600),
        LoadProfile("prefill", 0.97, 0.78, 0.9, 0.75, 0.20, 0.9, 98, 55, 0.90, 300),
        LoadProfile("decode", 0.52, 0.47, 0.5, 0.60, 0.70, 0.5, 94, 85, 0.90, 120),
        LoadProfile("batch", 0.82, 0.66, 2.0, 0.80, 0.30, 0.9, 96, 50, 0.60, 400),
        LoadProfile("idle", 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0, 0, 0.02, 0),
    )
}

DEFAULT_PROFILE = "training-hot"


@dataclass(frozen=True, slots=True)
class HostModel:
    """The host around its GPUs; watts at the outputs of its power supplies.

    ``psu_efficiency`` gives (load share of rating, efficiency) points, in order of load.
    """

    base_w: float
    cpu_idle_w: float
    cpu_max_w: float
    fan_max_w: float
    psu_rating_w: float
    psu_efficiency: tuple[tuple[float, float], ...]
    fan_min_duty: float = 0.30
    fan_full_c: float = 82.0
    fan_start_c: float = 42.0

    @property
    def worst_non_gpu_w(self) -> float:
        """The most that everything but the GPUs can draw: the figure for the site file."""
        return self.base_w + self.cpu_max_w + self.fan_max_w

    @property
    def lowest_efficiency(self) -> float:
        """The lowest efficiency the supplies ever have."""
        return min(efficiency for _, efficiency in self.psu_efficiency)


_TITANIUM = ((0.0, 0.92), (0.2, 0.945), (0.5, 0.96), (1.0, 0.94))


def host_model(model: GpuModel, gpus: int) -> HostModel:
    """A host sized for its GPUs; an H100 host of 8 can draw 2.2 kW beside them."""
    fan_max_w = gpus * model.limit_max_w * 0.14
    cpu_max_w = 250.0 + 50.0 * gpus
    base_w = 280.0 + 60.0 * gpus
    total_w = base_w + cpu_max_w + fan_max_w + gpus * model.limit_max_w
    return HostModel(
        base_w=base_w,
        cpu_idle_w=100.0 + 12.0 * gpus,
        cpu_max_w=cpu_max_w,
        fan_max_w=fan_max_w,
        psu_rating_w=1.25 * total_w,
        psu_efficiency=_TITANIUM,
    )


def nameplate_w(model: GpuModel, gpus: int) -> float:
    """The most the whole node can draw at the wall."""
    host = host_model(model, gpus)
    return (host.worst_non_gpu_w + gpus * model.limit_max_w) / host.lowest_efficiency


def gpu_model(name: str) -> GpuModel:
    """The model of that name; raises UnknownNameError with the names that exist."""
    if name not in GPU_MODELS:
        raise UnknownNameError(f"unknown GPU model {name!r}; known: {', '.join(GPU_MODELS)}")
    return GPU_MODELS[name]


def load_profile(name: str) -> LoadProfile:
    """The profile of that name; raises UnknownNameError with the names that exist."""
    if name not in LOAD_PROFILES:
        raise UnknownNameError(f"unknown load profile {name!r}; known: {', '.join(LOAD_PROFILES)}")
    return LOAD_PROFILES[name]
