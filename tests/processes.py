"""XLA flags for the tests and for the processes that they start."""

from importlib.metadata import version

# Tests spend far more time on compiling than on computing. Five sixths of the compile time of a
# training step goes into making its code faster, above all that of fused operations, and into
# splitting this work among threads. XLA ends a process that sets an unknown flag, so only versions
# that are known to have the flags get them.
FAST_COMPILE_FLAGS = {
    "0.10": "--xla_cpu_use_fusion_emitters=false --xla_cpu_opt_preset=FAST_COMPILE "
    "--xla_cpu_parallel_codegen_split_count=1"
}


def _fast_compile_flags() -> str | None:
    return FAST_COMPILE_FLAGS.get(version("jaxlib").rpartition(".")[0])


def usual_options() -> dict[str, str]:
    """Returns compiler options with which a program rounds as it does for users."""
    return {"xla_cpu_opt_preset": "CPU_OPT_PRESET_DEFAULT"} if _fast_compile_flags() else {}


def xla_flags(devices: int) -> str:
    """Returns XLA_FLAGS for a number of devices that are simulated on the CPU."""
    count = f"--xla_force_host_platform_device_count={devices}"
    fast_compile = _fast_compile_flags()
    return f"{count} {fast_compile}" if fast_compile else count
