"""Include them at a neutral path: ``path("readtime/", include("caliper_readtime.web.django.urls"))``."""

from django.urls import URLPattern, path, re_path

from caliper_readtime.web.django import views

app_name = "caliper_readtime"
urlpatterns: list[URLPattern] = [
    path("signals", views.signals, name="signals"),
    re_path(r"^(?P<name>readtime(?:\.m?|-media\.)js)$", views.script_file, name="script"),
    path("health", views.health, name="health"),
]
