"""Plans: worlds in one line, what is there on the left, what has to be done on the right.

A word is a snapshot and its marks: `s1` has the identity and version that its number gives, `s1!`
another identity, `s1+` a newer version, `s1?` is not verified, `s1-` was not made by dsgmigd, `s1/`
cannot be sent. A plan is written as its base, then its steps: `s1>s2` is sent, `s1~s2` is not.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.errors import NoSnapshots, SnapshotGap, TargetExists
from dsgmigd.names import SnapshotName
from dsgmigd.plan import (
    Create,
    Extend,
    Plan,
    Resume,
    SourceSnapshot,
    TargetSnapshot,
    TargetState,
    make_plan,
)


def source_of(words: str) -> list[SourceSnapshot]:
    return [
        SourceSnapshot(name, identity, version, is_sendable="/" not in marks)
        for name, identity, version, marks in map(_read_word, words.split())
    ]


def state_of(words: str | None) -> TargetState | None:
    if words is None:
        return None
    return TargetState(
        tuple(
            TargetSnapshot(
                name, None if "-" in marks else identity, version, is_verified="?" not in marks
            )
            for name, identity, version, marks in map(_read_word, words.split())
        )
    )


def _read_word(word: str) -> tuple[SnapshotName, str, int, str]:
    text = word.rstrip("!+?-/")
    marks = word[len(text) :]
    name = SnapshotName.parse(text)
    version = 100 + name.number + (1000 if "+" in marks else 0)
    return name, f"{text}{'!' if '!' in marks else ''}", version, marks


def plan(
    source: str,
    target: str | None = None,
    staging: str | None = None,
    *,
    limit: int | None = None,
    replace: bool = False,
) -> str:
    return written(
        make_plan(
            source_of(source),
            target=state_of(target),
            staging=state_of(staging),
            limit=limit,
            replace=replace,
        )
    )


def written(made: Plan) -> str:
    match made.base:
        case None:
            words = ["nothing"]
        case Create():
            words = ["create"]
        case Resume(snapshot):
            words = [f"resume {snapshot}"]
        case Extend(snapshot):
            words = [f"extend {snapshot}"]
    words += [
        f"{step.parent or ''}{'>' if step.method == 'send' else '~'}{step.snapshot}"
        for step in made.steps
    ]
    if made.rechecks:
        words.append("recheck " + " ".join(map(str, made.rechecks)))
    if made.replaces_target:
        words.append("replacing")
    return ", ".join(words)


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("s1", "create, >s1"),
        ("s1 s2 s3", "create, >s1, s1>s2, s2>s3"),
        ("s3 s1 s2", "create, >s1, s1>s2, s2>s3"),
        ("s1/ s2/", "create, ~s1, s1~s2"),
        ("s1 s2/ s3", "create, >s1, s1~s2, s2~s3"),
        ("s1/ s2 s3", "create, ~s1, s1~s2, s2>s3"),
    ],
)
def test_without_a_target_every_snapshot_is_a_step_and_sent_if_both_ends_can_be(
    source: str, steps: str
) -> None:
    assert plan(source) == steps


def test_a_limit_takes_the_first_snapshots() -> None:
    assert plan("s1 s2 s3", limit=2) == "create, >s1, s1>s2"
    assert plan("s1 s2 s3", limit=9) == "create, >s1, s1>s2, s2>s3"


def test_a_gap_matters_only_among_what_is_wanted() -> None:
    assert plan("s1 s2 s4", limit=2) == "create, >s1, s1>s2"
    with pytest.raises(SnapshotGap, match=r"s1 … s4 has gaps: s3 missing"):
        plan("s1 s2 s4")
    with pytest.raises(SnapshotGap, match=r"s1 … s9 has gaps: s1, s2, s3, s4, s5 and 3 more"):
        plan("s9")


def test_a_source_without_snapshots_is_refused() -> None:
    with pytest.raises(NoSnapshots):
        plan("")


@pytest.mark.parametrize("target", ["s1 s2", "s2 s1", "s1 s2 s3-"])
def test_a_target_that_holds_the_source_needs_nothing(target: str) -> None:
    assert plan("s1 s2", target=target) == "nothing"


def test_a_target_that_holds_the_beginning_is_extended() -> None:
    assert plan("s1 s2 s3 s4", target="s1 s2") == "extend s2, s2>s3, s3>s4"


def test_a_limit_that_the_target_has_reached_needs_nothing() -> None:
    assert plan("s1 s2 s3", target="s1 s2", limit=2) == "nothing"
    assert plan("s1 s2 s3", target="s1 s2", limit=1) == "nothing"


@pytest.mark.parametrize(
    ("target", "made"),
    [
        ("s1+ s2", "nothing, recheck s1"),
        ("s1+ s2+", "nothing, recheck s1 s2"),
        ("s1+", "extend s1, s1>s2, recheck s1"),
    ],
)
def test_a_published_snapshot_whose_source_moved_is_compared_again(target: str, made: str) -> None:
    assert plan("s1 s2", target=target) == made


@pytest.mark.parametrize(
    ("target", "evidence"),
    [
        ("", "it has no snapshots s1 … sN"),
        ("s1! s2", "@s1 was made from s1!, the source is s1"),
        ("s1 s2-", "@s2 was not made by dsgmigd"),
        ("s1 s2?", "@s2 is not marked as verified"),
        ("s2", "it has @s2 where the source has s1"),
        ("s1 s3", "it has @s3 where the source has s2"),
        ("s1! s2? s3-", "s1!, the source is s1; @s2 is not marked as verified; @s3 was not made"),
    ],
)
def test_a_target_that_is_not_the_beginning_of_the_source_is_refused_with_evidence(
    target: str, evidence: str
) -> None:
    with pytest.raises(TargetExists) as caught:
        plan("s1 s2 s3", target=target)
    assert evidence in caught.value.message
    assert '"replace": true' in caught.value.hint


def test_no_more_evidence_is_shown_than_a_person_reads() -> None:
    with pytest.raises(TargetExists, match=r"@s5 was not made by dsgmigd and 2 more$"):
        plan("s1 s2 s3 s4 s5 s6 s7", target="s1- s2- s3- s4- s5- s6- s7-")


@pytest.mark.parametrize("target", ["", "s1!", "s1-", "s1?", "s2"])
def test_a_foreign_target_is_replaced_only_when_that_was_asked_for(target: str) -> None:
    assert plan("s1 s2", target=target, replace=True) == "create, >s1, s1>s2, replacing"


def test_replace_does_not_build_anew_what_is_the_sources_already() -> None:
    assert plan("s1 s2", target="s1", replace=True) == "extend s1, s1>s2"
    assert plan("s1 s2", target="s1 s2", replace=True) == "nothing"


@pytest.mark.parametrize(
    ("staging", "made"),
    [
        ("", "create, >s1, s1>s2, s2>s3"),
        ("s1", "resume s1, s1>s2, s2>s3"),
        ("s1 s2", "resume s2, s2>s3"),
        ("s1 s2 s3", "resume s3"),
        ("s1 s2?", "resume s1, s1>s2, s2>s3"),
        ("s1? s2", "create, >s1, s1>s2, s2>s3"),
        ("s1 s2!", "resume s1, s1>s2, s2>s3"),
        ("s1 s2+", "resume s1, s1>s2, s2>s3"),
        ("s1-", "create, >s1, s1>s2, s2>s3"),
        ("s2 s3", "create, >s1, s1>s2, s2>s3"),
    ],
)
def test_an_interrupted_run_goes_on_after_its_last_verified_snapshot(
    staging: str, made: str
) -> None:
    assert plan("s1 s2 s3", staging=staging) == made


@pytest.mark.parametrize(
    ("target", "staging", "made"),
    [
        ("s1", "s1", "extend s1, s1>s2, s2>s3"),
        ("s1", "s1 s2", "resume s2, s2>s3"),
        ("s1", "s1 s2 s3", "resume s3"),
        ("s1", "s1 s2!", "extend s1, s1>s2, s2>s3"),
        ("s1 s2 s3", "s1 s2", "nothing"),
    ],
)
def test_what_staging_has_more_than_the_target_is_kept(
    target: str, staging: str, made: str
) -> None:
    assert plan("s1 s2 s3", target=target, staging=staging) == made


def test_an_interrupted_replacement_goes_on() -> None:
    made = plan("s1 s2", target="s1!", staging="s1", replace=True)
    assert made == "resume s1, s1>s2, replacing"


MARKS = ["", "!", "+", "?", "-"]
HELD = st.none() | st.lists(st.sampled_from(MARKS), max_size=6)


def series(marks: list[str] | None) -> TargetState | None:
    if marks is None:
        return None
    return state_of(" ".join(f"s{number}{mark}" for number, mark in enumerate(marks, 1)))


@given(
    count=st.integers(1, 5),
    target=HELD,
    staging=HELD,
    limit=st.none() | st.integers(1, 6),
    replace=st.booleans(),
    shuffler=st.randoms(use_true_random=False),
)
def test_base_and_steps_make_the_wanted_series_without_hole_or_repetition(
    *,
    count: int,
    target: list[str] | None,
    staging: list[str] | None,
    limit: int | None,
    replace: bool,
    shuffler: random.Random,
) -> None:
    source = source_of(" ".join(f"s{number}" for number in range(1, count + 1)))
    shuffler.shuffle(source)
    states = {"target": series(target), "staging": series(staging)}
    try:
        made = make_plan(source, **states, limit=limit, replace=replace)
    except TargetExists:
        assert target is not None
        assert not replace
        return
    wanted = [SnapshotName(number) for number in range(1, min(count, limit or count) + 1)]
    assert list(made.wanted) == wanted
    assert made.is_up_to_date == (made.base is None)
    if made.base is None:
        assert made.steps == ()
        return
    held = 0 if isinstance(made.base, Create) else made.base.snapshot.number
    assert [step.snapshot for step in made.steps] == wanted[held:]
    assert [step.parent for step in made.steps] == [None, *wanted][held:-1]
