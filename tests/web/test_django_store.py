"""A project whose reading time lives in its own database: pages, commands, checks and the admin, by settings alone."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from html import unescape

import pytest

from caliper_readtime import EventRejected, ReadTimePolicy, ReadTimeTracker
from caliper_readtime.doctor import Level, examine
from tests.django_databases import database, postgresql, sqlite
from tests.scenes import ANNA, BEES, BEN, OWLS, events
from tests.web.sites import HOST, django_site

ADMIN = {
    "INSTALLED_APPS": [
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "news",
        "caliper_readtime.web.django",
    ],
    "ROOT_URLCONF": "tests.web.admin_urls",
    "MESSAGE_STORAGE": "django.contrib.messages.storage.cookie.CookieStorage",
}


SETTINGS = {
    "STORE_URL": "django://readtime",
    "ENDPOINT": "http://127.0.0.1:9/caliper/event",
    "ONEROSTER_URL": "https://roster.example.org",
    "SENSOR": "https://reader.example.org",
    "APP_NAME": "Example Reader",
}
pytestmark = pytest.mark.postgresql


@pytest.fixture(params=["postgresql", "sqlite"])
def entry(request, tmp_path):
    """An entry of DATABASES."""
    return postgresql() if request.param == "postgresql" else sqlite(tmp_path)


@contextmanager
def site_on(entry, *, settings=None, **more):
    """The example project with its time in a database of its own, by its URL; what it reports is in the emitter."""
    with database(entry), django_site(settings=SETTINGS | (settings or {}), **more) as site:
        # What the settings make, but for the clock and the endpoint.
        site.counter._tracker = None
        store = site.counter.tracker.store
        site.store = store
        site.counter.tracker = site.tracker = ReadTimeTracker(
            store, site.emitter, events(), ReadTimePolicy(), site.clock
        )
        yield site
        store.close()


@pytest.mark.parametrize("leave", ["send", "defer", "background"])
def test_pages_count_into_the_projects_database(entry, leave):
    """STORE_URL=django://alias: signals are counted there, and a leave is reported though ATOMIC_REQUESTS is on."""
    with site_on({**entry, "ATOMIC_REQUESTS": True}, settings={"LEAVE": leave}) as site:
        ticket = site.ticket()
        assert site.read(ticket, 10).status_code == 204
        assert site.seconds() == 10
        assert site.log(ticket, 20, l=True).status_code == 204
        site.clock.advance(60)
        site.tracker.sweep(idle_seconds=0)
        assert site.emitter.seconds("anna", "owls") == site.seconds()
        assert site.get("/readtime/health").status_code == 200


def test_the_router_decides_where_no_alias_does(entry):
    """django:// alone is the database to which the project's routers send writes of this application."""
    from tests.web.sites import setup_django  # noqa: PLC0415

    setup_django()
    with database(entry, "reports"), django_site(overrides={"DATABASE_ROUTERS": [f"{__name__}.ToReports"]}):
        tracker = ReadTimeTracker.from_settings({"STORE_URL": "django://"}, events=events(), emitter=None)
        tracker.accumulate(ANNA, OWLS, 10)
        assert tracker.store.using == "reports"
        tracker.close()


class ToIt:
    """A project's router."""

    def db_for_write(self, model, **_):
        return "readtime"

    db_for_read = db_for_write


class ToReports:
    """Another."""

    def db_for_write(self, model, **_):
        return "reports" if model._meta.app_label == "caliper_readtime" else None


def test_commands_work_without_a_line_of_code(entry, capsys):
    """manage.py readtime works on that store: status, inspect, sweep, doctor."""
    from django.core.management import ManagementUtility  # noqa: PLC0415

    def run(*words):
        try:
            ManagementUtility(["manage.py", "readtime", *words]).execute()
        except SystemExit as end:
            assert end.code in (0, None) or words == ("doctor",), capsys.readouterr()
        return capsys.readouterr().out

    with site_on(entry) as site:
        site.tracker.accumulate(ANNA, OWLS, 10)
        assert "owls" in run("inspect", "anna")
        assert "10" in run("sweep", "--idle", "0")
        assert site.emitter.seconds("anna", "owls") == 10
        assert "database.durable" in run("doctor")


def test_outside_a_project():
    """The command that stands alone knows no project's databases, and says which one does."""
    command = [sys.executable, "-m", "caliper_readtime", "status", "--store-url", "django://default"]
    others = {
        "endpoint": "x",
        "oneroster-url": SETTINGS["ONEROSTER_URL"],
        "sensor": SETTINGS["SENSOR"],
        "app-name": "A",
    }
    command += [word for name, value in others.items() for word in (f"--{name}", value)]
    clean = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "manage.py readtime" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_doctor_knows_what_a_database_is_for(entry, tmp_path):
    """A sound database is sound; one that does not wait for its disk, is read-only or locks too late is not."""
    with site_on(entry) as site:
        found = {one.id: one.level for one in examine(site.tracker) if one.id.startswith("database")}
        sound = entry["ENGINE"].endswith("sqlite3")
        assert found == {
            "database.durable": Level.OK if sound else Level.ERROR,  # the tests' own server has fsync off
            "database.writable": Level.OK,
            "database.locks": Level.OK,
        }
    late = sqlite(tmp_path, transaction_mode="DEFERRED", init_command="PRAGMA synchronous=normal; PRAGMA query_only=0")
    with site_on(late) as site:
        bad = {one.id for one in examine(site.tracker) if one.level is not Level.OK and one.id.startswith("database")}
        assert bad == {"database.durable", "database.locks"}


def test_migrations_are_complete():
    """The models and their migrations say the same."""
    with django_site():
        from django.core.management import call_command  # noqa: PLC0415

        call_command("makemigrations", "caliper_readtime", check_changes=True, dry_run=True, verbosity=0)


@pytest.fixture
def admin(entry):
    """The admin of a project that keeps its time in its own database: a site, and a function that asks for a page."""
    if "django.contrib.admin" not in sys.modules:
        with django_site(overrides={"INSTALLED_APPS": ADMIN["INSTALLED_APPS"]}):
            pass
    with site_on(entry, overrides=ADMIN | {"DATABASE_ROUTERS": [f"{__name__}.ToIt"]}) as site:
        from django.contrib.admin import site as admin_site  # noqa: PLC0415
        from django.contrib.auth.models import User  # noqa: PLC0415
        from django.contrib.messages.storage import default_storage  # noqa: PLC0415
        from django.core.management import call_command  # noqa: PLC0415
        from django.test import RequestFactory  # noqa: PLC0415

        from caliper_readtime.web.django.admin import _StateAdmin  # noqa: PLC0415
        from caliper_readtime.web.django.models import State  # noqa: PLC0415

        call_command("migrate", "contenttypes", database="readtime", verbosity=0)

        def ask(view, *args, user=None, **posted):
            factory = RequestFactory(HTTP_HOST=HOST)
            request = factory.post("/", posted) if posted else factory.get("/")
            request._dont_enforce_csrf_checks = True
            request.user = User(username="staff", is_staff=True, is_superuser=True) if user is None else user
            request._messages = default_storage(request)
            answer = getattr(_StateAdmin(State, admin_site), view)(request, *args)
            said = [str(message) for message in request._messages]
            return (answer.render().content.decode() if hasattr(answer, "render") else ""), said

        yield site, ask


def test_the_admin_shows_every_state_and_why(admin):
    """The list has readers, articles and seconds; a state's page has the explanation; no page has an address."""
    site, ask = admin
    site.tracker.accumulate(ANNA, OWLS, 10)
    site.tracker.accumulate(BEN, BEES, 10)
    site.tracker.partial(BEN, BEES)
    page, _ = ask("changelist_view")
    assert all(word in page for word in ("anna", "owls", "unreported", "ben", "settled", "10 s"))
    page, _ = ask("change_view", "ben_0Abees")
    assert all(line in unescape(page) for line in site.tracker.explain(BEN, BEES).lines)
    assert "sent" in page
    assert "@" not in page


def test_the_admin_changes_nothing(admin):
    """Nobody adds, changes or deletes a state, a superuser neither; where time is kept elsewhere there is nothing."""
    from django.contrib.admin import site as admin_site  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415

    from caliper_readtime import InMemoryStateStore  # noqa: PLC0415
    from caliper_readtime.web.django.admin import _StateAdmin  # noqa: PLC0415
    from caliper_readtime.web.django.models import State  # noqa: PLC0415

    site, _ = admin
    request = RequestFactory().get("/")
    request.user = User(is_active=True, is_staff=True, is_superuser=True)
    page = _StateAdmin(State, admin_site)
    assert page.get_model_perms(request) == {"add": False, "change": False, "delete": False, "view": True}
    assert list(page.get_actions(request)) == ["unpark"]
    site.counter.tracker = ReadTimeTracker(InMemoryStateStore())
    assert not page.has_module_permission(request)


def test_the_admin_sends_parked_events_again(admin):
    """The action sends what is parked of the chosen states, says what came of each, and needs the permission."""
    site, ask = admin
    site.emitter.fail(EventRejected("bad", status=422))
    site.tracker.accumulate(ANNA, OWLS, 10)
    with pytest.raises(EventRejected):
        site.tracker.finalize(ANNA, OWLS)
    chosen = {"action": "unpark", "_selected_action": "anna\nowls", "index": "0"}
    _, said = ask("changelist_view", **chosen)
    assert len(said) == 1
    assert "reader anna, article owls: sent, 10 s" in said[0]
    assert site.emitter.seconds("anna", "owls") == 10
