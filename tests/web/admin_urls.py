"""URLs of a project that has Django's admin."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("readtime/", include("caliper_readtime.web.django.urls"))]
