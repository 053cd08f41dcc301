"""Training configurations, for `python -m colorjax.main --config=NAME[:VARIANT]`.

The package is installed as `colorjax.configs`. Its modules, and your own configs in other folders,
import it as `configs`.
"""
