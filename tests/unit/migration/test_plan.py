"""Plans: worlds in one line, what is there on the left, what has to be done on the right.

A word is a snapshot and its marks: `s1` has the identity and version that its number gives, `s1!`
another identity, `s1+` a newer version, `s1?` is not verified, `s1_` at `structure` only, `s1*` is
marked as different, `s1-` was not made by dsgmigd, `s1/` cannot be sent. A plan is written as its
base, then its steps: `s1>s2` is sent, `s1~s2` is not.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsgmigd.errors import NoSnapshots, SnapshotGap, TargetDiffers, TargetExists
from dsgmigd.migration.plan import (
    Create,
    Extend,
    Plan,
    Resume,
    make_plan,
)
from dsgmigd.migration.series import SourceSnapshot, TargetSnapshot, TargetState
from dsgmigd.names import SnapshotName
from dsgmigd.request import VerifyLevel
from dsgmigd.target.marks import Differs


def source_of(words: str) -> list[SourceSnapshot]:
    return [
        SourceSnapshot(name, identity, version, is_sendable="/" not in marks)
        for name, identity, version, marks in map(_read_word, words.split())
    ]


def state_of(words: str | None, shared: int = 0) -> TargetState | None:
    if words is None:
        return None
    return TargetState(
        shared=shared,
        snapshots=tuple(
            TargetSnapshot(
                name,
                None if "-" in marks else identity,
                version,
                level=None if "?" in marks else "structure" if "_" in marks else "complete",
                differs=Differs(3, "complete", "source", "then", "r1") if "*" in marks else None,
            )
            for name, identity, version, marks in map(_read_word, words.split())
        ),
    )


def _read_word(word: str) -> tuple[SnapshotName, str, int, str]:
    text = word.rstrip("!+?-/*_")
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
    rebuild: str | None = None,
    level: VerifyLevel | None = None,
    shared: int = 0,
) -> str:
    return written(
        make_plan(
            source_of(source),
            target=state_of(target),
            staging=state_of(staging, shared),
            limit=limit,
            replace=replace,
            rebuild_from=SnapshotName.parse(rebuild) if rebuild else None,
            level=level,
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
    if made.verifies:
        words.append("verify " + " ".join(map(str, made.verifies)))
    if made.only_in_target:
        words.append("kept " + " ".join(map(str, made.only_in_target)))
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


@pytest.mark.parametrize("target", ["s1 s2", "s2 s1"])
def test_a_target_that_holds_the_source_needs_nothing(target: str) -> None:
    assert plan("s1 s2", target=target) == "nothing"


@pytest.mark.parametrize(
    ("source", "target", "made"),
    [
        ("s2 s3", "s1 s2 s3", "nothing, kept s1"),
        ("s3", "s1 s2 s3", "nothing, kept s1 s2"),
        ("s1 s3", "s1 s2 s3", "nothing, kept s2"),
        ("s2 s3 s4 s5", "s1 s2 s3", "extend s3, s3>s4, s4>s5, kept s1"),
        ("s3 s4", "s3 s2 s1", "extend s3, s3>s4, kept s1 s2"),
        ("s2+ s3", "s1 s2", "extend s2, s2>s3, recheck s2, kept s1"),
        ("s1 s2", "s1 s2 s3 s4", "nothing, kept s3 s4"),
        ("s1 s2", "s1 s2 s3-", "nothing, kept s3"),
        ("s2", "s1 s2 s3", "nothing, kept s1 s3"),
    ],
)
def test_what_the_source_no_longer_has_stays_in_the_target_and_is_named(
    source: str, target: str, made: str
) -> None:
    assert plan(source, target=target) == made
    assert plan(source, target=target, replace=True) == made


@pytest.mark.parametrize(
    ("staging", "made"),
    [
        ("s1 s2", "extend s2, s2>s3, s3>s4, kept s1"),
        ("s1 s2 s3", "resume s3, s3>s4, kept s1"),
        ("s1! s2 s3", "extend s2, s2>s3, s3>s4, kept s1"),
        ("s2 s3", "extend s2, s2>s3, s3>s4, kept s1"),
    ],
)
def test_an_interrupted_extension_of_a_pruned_source_goes_on(staging: str, made: str) -> None:
    assert plan("s2 s3 s4", target="s1 s2", staging=staging) == made


def test_with_a_limit_only_its_snapshots_are_missed() -> None:
    assert plan("s2 s4", target="s1 s2 s3 s4", limit=2) == "nothing, kept s1"


@pytest.mark.parametrize(
    ("source", "target", "missing"),
    [
        ("s4", "s1 s2 s3", "s3"),
        ("s1 s2 s4", "s1 s2 s3", "s3"),
        ("s5", "s1 s2 s3", "s3, s4"),
        ("s3 s5", "s1 s2 s3", "s4"),
        ("s2 s3", "s1? s2", "s1"),
        ("s2 s3", "s1- s2", "s1"),
        ("s2 s3", "s2", "s1"),
    ],
)
def test_a_target_is_not_extended_over_a_gap_and_nobody_is_told_to_renumber(
    source: str, target: str, missing: str
) -> None:
    with pytest.raises(SnapshotGap, match=f"has gaps: {missing} missing") as caught:
        plan(source, target=target)
    assert caught.value.hint.startswith("restore the")
    assert "or renumber" not in caught.value.hint


def test_a_limit_below_all_that_the_source_still_has_proves_nothing() -> None:
    with pytest.raises(SnapshotGap, match="s1, s2 missing"):
        plan("s3 s4", target="s1 s2 s3", limit=2)


def test_what_the_source_no_longer_has_cannot_be_replaced() -> None:
    with pytest.raises(SnapshotGap, match="s1 missing"):
        plan("s2 s3", target="s1 s2!", replace=True)


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


def test_a_target_from_the_original_is_told_from_its_normalised_copy() -> None:
    origins = {"s1!": "SV/", "s1": "SV-norm/", "s2": "SV-norm/"}
    with pytest.raises(TargetExists) as caught:
        make_plan(
            source_of("s1 s2 s3"), target=state_of("s1! s2 s3!"), staging=None, origins=origins
        )
    assert caught.value.message.endswith(
        ": @s1 was made from SV/, the source is SV-norm/ now; "
        "@s3 was made from s3!, the source is s3"
    )


def test_an_empty_target_may_be_destroyed() -> None:
    target = TargetState((), empty_dataset="zsd/SV")
    with pytest.raises(TargetExists, match=r"source: it is empty$") as caught:
        make_plan(source_of("s1"), target=target, staging=None)
    assert caught.value.hint.startswith(
        'it is empty: zfs destroy zsd/SV, or submit with "replace": true'
    )


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


# What a verification found.


@pytest.mark.parametrize("target", ["s1* s2", "s1 s2*", "s1* s2* s3"])
def test_what_is_marked_as_different_is_never_up_to_date(target: str) -> None:
    with pytest.raises(TargetDiffers, match=r"@s[12] has 3 differences to its source") as caught:
        plan("s1 s2 s3", target=target)
    first = "s1" if "s1*" in target else "s2"
    assert f"dsgmigd rebuild REPO --from {first}" in caught.value.hint


def test_a_mark_beyond_the_limit_does_not_matter() -> None:
    assert plan("s1 s2", target="s1 s2*", limit=1) == "nothing"


@pytest.mark.parametrize(
    ("staging", "shared", "made"),
    [
        (None, 0, "create, >s1, s1>s2, replacing"),
        ("s1", 0, "resume s1, s1>s2, replacing"),
        ("s1* s2", 2, "create, >s1, s1>s2, replacing"),
        ("s1 s2", 1, "create, >s1, s1>s2, replacing"),
    ],
)
def test_what_differs_is_replaced_if_that_is_asked_for(
    staging: str | None, shared: int, made: str
) -> None:
    target = "s1* s2"
    assert plan("s1 s2", target=target, staging=staging, shared=shared, replace=True) == made


@pytest.mark.parametrize(
    ("first", "target", "made"),
    [
        ("s1", "s1 s2 s3", "create, >s1, s1>s2, s2>s3, replacing"),
        ("s1", "s1* s2! s3-", "create, >s1, s1>s2, s2>s3, replacing"),
        ("s2", "s1 s2* s3", "extend s1, s1>s2, s2>s3, replacing"),
        ("s3", "s1 s2 s3*", "extend s2, s2>s3, replacing"),
        ("s3", "s1 s2", "extend s2, s2>s3, replacing"),
        ("s3", "s1+ s2 s3*", "extend s2, s2>s3, recheck s1, replacing"),
    ],
)
def test_a_rebuild_keeps_what_is_before_it(first: str, target: str, made: str) -> None:
    assert plan("s1 s2 s3", target=target, rebuild=first) == made


@pytest.mark.parametrize(
    ("staging", "shared", "made"),
    [
        ("s1 s2", 1, "resume s2, s2>s3, replacing"),
        ("s1 s2 s3", 1, "resume s3, replacing"),
        ("s1 s2* s3", 1, "extend s1, s1>s2, s2>s3, replacing"),
        ("s1 s2 s3", 2, "extend s1, s1>s2, s2>s3, replacing"),
        ("s1 s2 s3", 0, "extend s1, s1>s2, s2>s3, replacing"),
    ],
)
def test_an_interrupted_rebuild_goes_on_only_after_its_own_work(
    staging: str, shared: int, made: str
) -> None:
    target = "s1 s2* s3"
    assert plan("s1 s2 s3", target=target, staging=staging, shared=shared, rebuild="s2") == made


@pytest.mark.parametrize("before", ["s1*", "s1?", "s1!", "s1-"])
def test_a_rebuild_keeps_nothing_that_is_not_proven(before: str) -> None:
    with pytest.raises(TargetExists, match="before s2 cannot be kept: @s1"):
        plan("s1 s2", target=f"{before} s2*", rebuild="s2")


@pytest.mark.parametrize(
    ("source", "target", "first", "missing"),
    [
        ("s2 s3", "s1 s2* s3", "s1", "s1"),
        ("s1 s2", "s1 s2 s3", "s2", "s3"),
        ("s1 s2", "s1 s2", "s3", "s3"),
        ("s2 s3", "s1 s2 s3", "s2", "s1"),
    ],
)
def test_a_rebuild_drops_nothing_that_the_source_no_longer_has(
    source: str, target: str, first: str, missing: str
) -> None:
    with pytest.raises(SnapshotGap, match=f"{missing}"):
        plan(source, target=target, rebuild=first)


def test_a_rebuild_of_nothing_builds_everything() -> None:
    assert plan("s1 s2", rebuild="s1") == "create, >s1, s1>s2"


@pytest.mark.parametrize(
    ("target", "level", "made"),
    [
        ("s1 s2", "complete", "nothing"),
        ("s1_ s2", "complete", "nothing, verify s1"),
        ("s1 s2", "exhaustive", "nothing, verify s1 s2"),
        ("s1_ s2_", "structure", "nothing"),
        ("s1_", "changes", "extend s1, s1>s2, verify s1"),
        ("s1_+ s2", "complete", "nothing, recheck s1, verify s1"),
    ],
)
def test_what_was_verified_at_a_weaker_level_is_verified_first(
    target: str, level: VerifyLevel, made: str
) -> None:
    assert plan("s1 s2", target=target, level=level) == made


def test_what_only_the_target_has_cannot_be_verified_again() -> None:
    assert plan("s2", target="s1_ s2", level="complete") == "nothing, kept s1"


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
    try:
        made = make_plan(
            source, target=series(target), staging=series(staging), limit=limit, replace=replace
        )
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


# How a result shows a plan.


@pytest.mark.parametrize(
    ("target", "staging", "base"),
    [
        (None, None, "create"),
        (None, "s1", "resume s1"),
        ("s1 s2", None, "extend s2"),
        ("s1 s2 s3", None, "nothing"),
    ],
)
def test_a_plan_names_its_base_in_words(target: str | None, staging: str | None, base: str) -> None:
    made = make_plan(source_of("s1 s2 s3"), target=state_of(target), staging=state_of(staging))
    assert made.to_json()["base"] == base


def test_a_plan_in_a_result_counts_what_is_wanted_and_lists_what_is_done() -> None:
    made = make_plan(source_of("s1 s2 s3/"), target=state_of("s1+"), staging=None)
    assert made.to_json() == {
        "wanted": 3,
        "base": "extend s1",
        "steps": ["s2 by send", "s3 by rsync"],
        "rechecks": ["s1"],
        "verifies": [],
        "replaces_target": False,
        "only_in_target": [],
    }


def test_a_plan_in_a_result_says_whether_the_target_is_replaced() -> None:
    made = make_plan(source_of("s1"), target=state_of("s1!"), staging=None, replace=True)
    assert made.to_json()["replaces_target"] is True
