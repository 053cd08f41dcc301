"""Which packages there are; all else is in setup.cfg, which cannot say that one lies elsewhere."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["colorjax*"]), "colorjax.configs"],
    package_dir={"colorjax.configs": "configs"},
)
