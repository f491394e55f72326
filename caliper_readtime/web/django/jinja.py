"""``{{ readtime_script(user.sourced_id, article) }}`` in Jinja templates of a Django project.

Add ``"caliper_readtime.web.django.jinja.ReadTimeExtension"`` to the engine's ``OPTIONS["extensions"]``.
"""

from jinja2 import Environment, pass_context
from jinja2.ext import Extension

from caliper_readtime.web.django import pages


class ReadTimeExtension(Extension):
    """Brings the global ``readtime_script``."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals["readtime_script"] = pass_context(pages.readtime_script)
