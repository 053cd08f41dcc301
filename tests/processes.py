"""What the tests and the processes that they start tell XLA."""

from importlib.metadata import version

# Tests compile far longer than they compute: five sixths of what a training step takes to compile
# goes into faster code, that of fused operations above all, and into sharing this among threads.
# XLA ends a process over a flag that it does not know, so a version that may lack it is not told.
QUICK = {
    "0.10": "--xla_cpu_use_fusion_emitters=false --xla_cpu_opt_preset=FAST_COMPILE "
    "--xla_cpu_parallel_codegen_split_count=1"
}


def _quick() -> str | None:
    return QUICK.get(version("jaxlib").rpartition(".")[0])


def usual_options() -> dict[str, str]:
    """Compiler options with which a program rounds as that of users does."""
    return {"xla_cpu_opt_preset": "CPU_OPT_PRESET_DEFAULT"} if _quick() else {}


def xla_flags(devices: int) -> str:
    """XLA_FLAGS for so many devices, which are simulated on the CPU."""
    count = f"--xla_force_host_platform_device_count={devices}"
    quick = _quick()
    return f"{count} {quick}" if quick else count
