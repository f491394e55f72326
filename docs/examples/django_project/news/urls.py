"""URLs of the example project."""

from django.urls import include, path

from news import views

urlpatterns = [
    path("", views.front_page, name="front_page"),
    path("articles/<slug:slug>", views.article, name="article"),
    path("jinja/<slug:slug>", views.article_in_jinja, name="article_in_jinja"),
    path("login/<slug:student>", views.login, name="login"),
    path("logout", views.logout, name="logout"),
    path("bank", views.bank, name="bank"),
    path("readtime/", include("caliper_readtime.web.django.urls")),  # reading time
]
