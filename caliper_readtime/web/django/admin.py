"""The admin's pages of ``STORE_URL=django://``: every state, why it stands as it does, parked events sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.html import format_html_join

from caliper_readtime._checks import without_emails
from caliper_readtime.errors import CorruptState, ReadTimeError
from caliper_readtime.web.django import current_tracker
from caliper_readtime.web.django._rows import state_of
from caliper_readtime.web.django.models import State
from caliper_readtime.web.django.store import DjangoStateStore

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from caliper_readtime._rules.state import ReadTimeState


class _Parked(admin.SimpleListFilter):
    """States that hold parked events."""

    title = "parked events"
    parameter_name = "parked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's
        """Return the one choice besides all."""
        return [("yes", "with parked events")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's
        """Return what is chosen."""
        return queryset.filter(parked__gt=0) if self.value() else queryset


@admin.register(State)
class _StateAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # generic in stubs alone
    """Read-only: states change by the tracker's verbs alone. It shows no e-mail address."""

    list_display = ("reader", "resource", "phase", "read", "reported", "unreported", "beside", "due", "parked")
    list_filter = (_Parked,)
    list_per_page = 50
    search_fields = ("=reader", "=resource")
    search_help_text = "the whole OneRoster id of a reader or an article"
    show_full_result_count = False
    actions = ("unpark",)
    fields = (*list_display, "explanation")
    readonly_fields = fields
    ordering = ("key",)

    # Nothing but looking, and nothing where time is kept elsewhere

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the project keeps its time here, and this user may see it."""
        return _store() is not None and super().has_view_permission(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the admin's first page lists it."""
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:  # noqa: ARG002 - Django's
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's
        """Nobody may: ``forget`` erases a reader, and says what that means."""
        return False

    def has_unpark_permission(self, request: HttpRequest) -> bool:
        """Return whether this user may have parked events sent again."""
        user: Any = request.user
        return bool(user.has_perm("caliper_readtime.change_state"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of the store's own database."""
        store = _store()
        return super().get_queryset(request) if store is None else super().get_queryset(request).using(store.using)

    # Columns

    def phase(self, row: State) -> str:
        """Where it stands."""
        return _of(row, "phase")

    def read(self, row: State) -> str:
        """Accepted time."""
        return _of(row, "cumulative_read_time_seconds")

    def reported(self, row: State) -> str:
        """Time that the endpoint has accepted."""
        return _of(row, "reported_read_time_seconds")

    def unreported(self, row: State) -> str:
        """Accepted and not yet reported."""
        return _of(row, "unreported_seconds")

    @admin.display(description="read beside another article")
    def beside(self, row: State) -> str:
        """Found, where it was claimed, to have been read beside another article."""
        return _of(row, "beside_seconds")

    @admin.display(ordering="due_at_ms")
    def due(self, row: State) -> str:
        """When a sweep looks at it."""
        return _of(row, "due_at")

    # One state's page

    def explanation(self, row: State) -> str:
        """Why this reader gets these minutes on this article."""
        try:
            lines = current_tracker().explain(row.reader, row.resource).lines
        except ReadTimeError as error:
            lines = (str(error),)
        return format_html_join("\n", "<p>{}</p>", ((line,) for line in lines))

    # The one thing that can be done

    @admin.action(description="Send parked events again", permissions=["unpark"])
    def unpark(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let the parked events of these states be sent now, and say what came of each."""
        for row in queryset.filter(parked__gt=0):
            where = f"reader {row.reader}, article {row.resource}"
            try:
                report = current_tracker().unpark(row.reader, row.resource)
            except ReadTimeError as error:
                self.message_user(request, f"{where}: {without_emails(str(error))}", messages.ERROR)
            else:
                self.message_user(request, f"{where}: {report.outcome}, {report.delta_seconds:g} s")


def _store() -> DjangoStateStore | None:
    try:
        store = current_tracker().store
    except ReadTimeError:  # the system checks say so
        return None
    return store if isinstance(store, DjangoStateStore) else None


def _readable(row: State) -> ReadTimeState | None:
    try:
        return state_of(row)
    except CorruptState:
        return None


def _of(row: State, name: str) -> str:
    state = _readable(row)
    value = "cannot be read" if state is None else getattr(state, name)
    return "" if value is None else f"{value:g} s" if isinstance(value, float) else str(value)
