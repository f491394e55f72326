"""Views of the example project: nothing in them knows of reading time but the one that pays for it."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from caliper_readtime.web.django import current_tracker
from news.students import STUDENTS

ARTICLES = {
    "leaves": {"resource_id": "nice_x1", "title": "How leaves eat light", "text": "Leaves are green because …"},
    "volcanoes": {"resource_id": "nice_x2", "title": "Volcanoes", "text": "Deep below the ground …"},
}


def front_page(request: HttpRequest) -> HttpResponse:
    return render(request, "front_page.html", {"articles": ARTICLES, "students": STUDENTS})


def article(request: HttpRequest, slug: str) -> HttpResponse:
    return _article(request, slug, "article.html", "django")


def article_in_jinja(request: HttpRequest, slug: str) -> HttpResponse:
    return _article(request, slug, "article.jinja", "jinja2")


def _article(request: HttpRequest, slug: str, template: str, engine: str) -> HttpResponse:
    if slug not in ARTICLES:
        raise Http404
    url = request.build_absolute_uri(request.path)
    context = {"article": ARTICLES[slug], "student": request.session.get("student"), "url": url}
    return render(request, template, context, using=engine)


def login(request: HttpRequest, student: str) -> HttpResponse:
    if student not in STUDENTS:
        raise Http404
    request.session["student"] = student
    return redirect("front_page")


def logout(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return redirect("front_page")


@require_POST
def bank(request: HttpRequest) -> JsonResponse:
    """Before minutes are paid, everything that is still unreported has to be."""
    flushed = current_tracker().flush_reader(request.session["student"], wait_seconds=2.0)
    return JsonResponse({"settled": flushed.settled, "seconds_sent": flushed.seconds_sent})
