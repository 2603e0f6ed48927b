"""What a worker's report is to the core, and which of its lines go to the journal as they are."""

from __future__ import annotations

from engine.scheduling.events import AttemptLost, BeginAsked, Event, PrefetchEnded, Reported, SeenRunning
from engine.scheduling.records import LogLines, Noted
from engine.wire import NodeReport, Outcome, Report, ReportKind, real_item


def events_of(report: Report) -> tuple[list[Event], list[LogLines | Noted]]:
    """The events in a report, and its log lines and notes."""
    run_id = report.run_id
    events: list[Event] = []
    for node in report.nodes:
        step_no = node.step_within(report.step_no)
        match report.kind:
            case ReportKind.DONE:
                events.append(Reported(run_id, step_no, node, report.worker, report.token))
            case ReportKind.BEGIN:
                events.append(BeginAsked(run_id, step_no, node.item, node.attempt, report.token, report.worker))
            case ReportKind.BEGUN:
                begun_at = node.begun_at or 0.0
                events.append(SeenRunning(run_id, step_no, node.item, node.attempt, begun_at, report.worker))
            case ReportKind.LOST if node.outcome is not Outcome.LOST:
                events.append(Reported(run_id, step_no, node, report.worker, report.token))
            case ReportKind.LOST:
                why = node.error.message if node.error else "its process died"
                events.append(AttemptLost(run_id, step_no, node.item, node.attempt, why, report.worker, report.token))
            case ReportKind.PREFETCHED:
                events.append(_prefetch_ended(report, step_no, node))
            case ReportKind.PROGRESS | ReportKind.WAKE:
                pass
    lines: list[LogLines | Noted] = [
        LogLines(run_id, node.step_within(report.step_no), real_item(node.item), node.attempt, node.log, node.progress)
        for node in report.nodes
        if node.log or node.progress is not None
    ]
    lines += [
        Noted(run_id, node.step_within(report.step_no), real_item(node.item), node.attempt, node.notes)
        for node in report.nodes
        if node.notes
    ]
    return events, lines


def _prefetch_ended(report: Report, step_no: int, node: NodeReport) -> PrefetchEnded:
    brought, why = node.prefetched, node.error.message if node.error else ""
    if brought is None:
        return PrefetchEnded(report.run_id, step_no, why=why or "nothing came", token=report.token)
    return PrefetchEnded(report.run_id, step_no, brought.bytes, brought.seconds, why, report.token)
