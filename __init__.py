"""headscope: what every attention head of a vision transformer does, and whether it matters.

The public API stands in `__init__.pyi`; a name is imported when it is first used, so that
`headscope --help` does not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
