"""For servers that speak ASGI: signals are bounded before Django writes their bodies to the disk."""

import os

from django.core.asgi import get_asgi_application

from caliper_readtime.web.django.asgi import bounded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "news.settings")
application = bounded(get_asgi_application())
