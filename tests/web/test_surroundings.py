"""What hosts have around the pages: login walls, content policies, caches, sessions, hooks that read bodies."""

from __future__ import annotations

from types import SimpleNamespace

from tests.web.sites import HOST, django_site

BASE = "http://" + HOST
TAG = "{% load readtime %}{% readtime_script reader resource_id='owls' title='Owls' url='https://a.example.org/o' %}"


# A login wall


def nobody(get_response):
    """Middleware of a site on which nobody is logged in."""

    def stranger(request):
        request.user = SimpleNamespace(is_authenticated=False)
        return get_response(request)

    return stranger


def test_djangos_login_wall():
    """Behind LoginRequiredMiddleware a leave that comes after the logout counts; script and health are open."""
    with django_site():
        from django.conf import settings  # noqa: PLC0415

        overrides = {
            "INSTALLED_APPS": [*settings.INSTALLED_APPS, "django.contrib.contenttypes", "django.contrib.auth"],
            "MIDDLEWARE": [
                *settings.MIDDLEWARE,
                "tests.web.test_surroundings.nobody",
                "django.contrib.auth.middleware.LoginRequiredMiddleware",
            ],
        }
    with django_site(overrides=overrides) as site:
        assert site.get("/articles/leaves").status_code == 302
        assert site.read(site.ticket(), 10, l=True).status_code == 204
        assert site.seconds() == 10
        assert [site.get(f"/readtime/{name}").status_code for name in ("readtime.js", "health")] == [200, 200]
