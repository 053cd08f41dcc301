"""What is trained, and how: `python -m colorjax.main --config=NAME[:VARIANT]`.

Installed as `colorjax.configs`; to one another, and to a config of your own that lies elsewhere,
they are `configs`.
"""
