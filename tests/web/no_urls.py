"""URLs of a project that forgot to include ours."""

urlpatterns: list[object] = []
