"""Settings of the example project."""

import tempfile
from pathlib import Path

HERE = Path(tempfile.gettempdir())
# Where time lives and where events go. A real site sets these in its environment, with its own endpoint.
DEFAULTS = {
    "STORE_URL": f"sqlite:///{HERE / 'readtime-example.db'}",
    "ENDPOINT": f"jsonl://{HERE / 'readtime-example.jsonl'}",
    "ONEROSTER_URL": "https://oneroster.example.org",
    "SENSOR": "https://news.example.org",
    "APP_NAME": "Example News",
}

SECRET_KEY = "only-for-this-example"  # noqa: S105 - a real one comes from the environment
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "news.urls"
INSTALLED_APPS = [
    "news",
    "caliper_readtime.web.django",  # reading time
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "caliper_readtime.web.django.middleware.private_pages",  # reading time
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    },
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [Path(__file__).parent / "jinja"],
        "OPTIONS": {"extensions": ["caliper_readtime.web.django.jinja.ReadTimeExtension"]},
    },
]
CALIPER_READTIME = DEFAULTS | {"READER": "news.students.find_reader"}  # reading time
USE_TZ = True
