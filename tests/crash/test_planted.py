"""The harness finds every planted defect, by fault, step and line; a host that is right passes; no fault is idle."""

from __future__ import annotations

import pytest

from caliper_readtime.testing import Fault
from tests.crash import diary, mistakes, replaced, table
from tests.crash.conftest import code_of

PLANTED = [
    *replaced.TWELVE,
    *((kind, diary.a_reader_leaves, {}, *found) for kind, *found in mistakes.MORE),
]
NAMES = [(scene if kind is diary.Diary else kind).__name__ for kind, scene, *_ in PLANTED]


@pytest.mark.parametrize(
    ("kind", "scene", "more"),
    [
        (diary.Diary, diary.a_reader_leaves, {}),
        (diary.Diary, diary.a_page_goes_on, {}),
        (diary.Diary, diary.a_beacon, {"retried": False}),
        (diary.Diary, diary.two_tabs, {"faults": [Fault.MEANWHILE]}),
        (mistakes.CommitsItsClaim, diary.a_reader_leaves, {}),
    ],
)
def test_a_host_that_is_right_passes(judged, kind, scene, more):
    """No fault at any step of it loses or doubles a second."""
    report = judged(kind, scene, **more)
    assert str(report).endswith("nothing lost or doubled")
    assert report.runs > len(report.steps) > 3


@pytest.mark.parametrize(("kind", "scene", "more", "fault", "name", "code"), PLANTED, ids=NAMES)
def test_a_planted_defect_is_found(judged, kind, scene, more, fault, name, code):
    """It is named by fault and step, at the line of the host that was executing, with both figures and what to do."""
    report = judged(kind, scene, **more)
    found = [finding for finding in report.findings if (finding.fault, finding.step.name) == (fault, name)]
    finding = next(finding for finding in found if code in code_of(finding.step))
    assert finding.step in report.steps
    assert (finding.reader, finding.article, finding.expected_seconds) == ("anna", "owls", 60)
    assert finding.delivered_seconds != 60
    assert f"{finding.step.file}:{finding.step.line} in " in str(finding)
    assert "s delivered, not 60 s: " in str(finding)
    assert finding.advice in str(report)


def test_twelve_and_more():
    """As many as the pages say."""
    assert (len(replaced.TWELVE), len(mistakes.MORE)) == (12, 12)


def test_the_page_lists_them():
    """The page about wiring has both tables as they come out."""
    page = table.PAGE.read_text(encoding="utf-8")
    for one in table.tables():
        assert one in page, "python -m tests.crash.table prints them"


def test_no_fault_is_idle(judged):
    """Whichever fault the harness would not try, a planted defect would pass for right."""
    needed = set()
    for kind, scene, more, *_ in PLANTED:
        faults = {finding.fault for finding in judged(kind, scene, **more).findings}
        if len(faults) == 1:
            needed |= faults
    assert needed == {*Fault, None}


@pytest.mark.parametrize("fault", Fault)
def test_without_a_fault_a_defect_passes(judged, fault):
    """The same from the other side: a harness with one fault less says of some defect that nothing is wrong."""
    rest = [other for other in Fault if other is not fault]
    kind = {
        Fault.CRASH_BEFORE: mistakes.KeepsTimeInMemory,
        Fault.CRASH_AFTER: mistakes.ForgetsAtTheEnd,
        Fault.UNREACHABLE: mistakes.AnswersThatAllIsWell,
        Fault.LOST_ANSWER: mistakes.LetsItsSessionRetry,
        Fault.UNAVAILABLE: mistakes.TakesEveryAnswerForYes,
        Fault.LATE: mistakes.TakesAbsenceForProof,
        Fault.MEANWHILE: replaced.ReadsChangesAndWrites,
        Fault.OUTAGE: replaced.StatesExpire,
    }[fault]
    assert judged(kind, diary.a_reader_leaves, faults=rest).findings == ()
    assert {finding.fault for finding in judged(kind, diary.a_reader_leaves, faults=[fault]).findings} == {fault}
