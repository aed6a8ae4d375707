"""Two journals, event by event."""

from __future__ import annotations

from replay.model.comparison import compare
from replay.model.events import Event
from replay.model.journal import Started


def journal(*answers: tuple[str, str, bytes], seed: str = "a", text: bytes = b"[1]") -> list[Event]:
    """A journal of a start and some answers: command, name, payload."""
    begin = Started(workflow="w", input=text, seed=seed, tags={"of": seed}).encode()
    first = Event(1, "started", "", "w", 0, begin)
    return [first, *(Event(seq, "step_completed", *answer[:2], seq * 7, answer[2]) for seq, answer in enumerate(answers, 2))]


A, B, C = ("0", "a", b"1"), ("1", "b", b"2"), ("2", "c", b"3")


def test_runs_of_other_names_hours_and_workers_are_the_same() -> None:
    """What replay does not read does not count."""
    one = journal(A, B)
    other = [event._replace(at=event.at + 99, worker="x", attempt=2, duration=5, line="z:1") for event in journal(A, B, seed="b")]

    assert compare(one, other).is_same
    assert 3 == compare(one, other).agree


def test_another_input_is_a_difference_of_the_first_event() -> None:
    """Though its seed and tags are not."""
    found = compare(journal(A), journal(A, text=b"[2]"))

    assert (0, ["other"], 1) == (found.agree, [one.verdict for one in found.differences], found.differences[0].a.seq)  # type: ignore[union-attr]  # just made


def test_another_answer_is_found_and_what_agrees_after_it_is_not_told() -> None:
    """One difference, not a flood of them."""
    found = compare(journal(A, B, C), journal(A, ("1", "b", b"9"), C))

    assert (2, ["other"], 1) == (found.agree, [one.verdict for one in found.differences], found.elsewhere)


def test_one_event_more_does_not_make_all_others_look_different() -> None:
    """They are paired by what they answer."""
    found = compare(journal(A, C), journal(A, B, C))

    assert ["only_b"] == [one.verdict for one in found.differences]
    assert B[1] == found.differences[0].b.name  # type: ignore[union-attr]  # only_b has one
    assert 1 == found.elsewhere


def test_a_journal_that_ends_early_lacks_the_rest() -> None:
    """Each missing event is told."""
    assert ["only_a", "only_a"] == [one.verdict for one in compare(journal(A, B, C), journal(A)).differences]


def test_the_same_answers_in_another_order_are_told_as_such() -> None:
    """Parallel steps that ended the other way round."""
    found = compare(journal(A, B), journal(B, A))

    assert not found.is_same
    assert ["moved", "moved"] == [one.verdict for one in found.differences]


def test_other_arguments_are_a_difference_though_the_answer_is_the_same() -> None:
    """The checksum of the arguments is part of what replay compares."""
    one, other = journal(A), journal(A)
    other[1] = other[1]._replace(check=7)

    assert ["other"] == [difference.verdict for difference in compare(one, other).differences]


def test_failures_are_compared_by_type_and_message() -> None:
    """Tracebacks hold paths of machines."""
    one, other = (
        [Event(1, "step_failed", "0", "a", 0, b'{"type":"E","message":"m","traceback":"%s"}' % path)] for path in (b"x", b"y")
    )

    assert compare(one, other).is_same


def test_an_event_that_has_the_kind_of_another_is_paired_by_its_command() -> None:
    """Completed here, failed there."""
    failed = Event(2, "step_failed", "0", "a", 0, b'{"type":"E","message":"m"}')

    assert ["other"] == [one.verdict for one in compare(journal(A), [journal(A)[0], failed]).differences]


def test_empty_journals_agree() -> None:
    """There is nothing that could differ."""
    assert compare([], []).is_same
