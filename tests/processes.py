"""What the tests and the processes that they start tell XLA."""

from importlib.metadata import version

# Half of the time that a training step takes to compile goes into the code of fused operations.
# XLA ends a process over a flag that it does not know, so a version that may lack it is not told.
QUICK = {"0.10": "--xla_cpu_use_fusion_emitters=false"}


def xla_flags(devices: int) -> str:
    """XLA_FLAGS for so many devices, which are simulated on the CPU."""
    count = f"--xla_force_host_platform_device_count={devices}"
    quick = QUICK.get(version("jaxlib").rpartition(".")[0])
    return f"{count} {quick}" if quick else count
