"""The settings of every request, and the dataset names that follow from them."""

from dataclasses import FrozenInstanceError

import pytest

from dsgmigd.migration.job import Job, Settings
from dsgmigd.names import parse_dataset_name, parse_repo_name
from dsgmigd.request import Request
from dsgmigd.target.layout import DatasetLayout
from tests.unit.source.repositories import SPOOL_ID

SV = parse_repo_name("SV")


def test_the_datasets_of_a_repository_are_below_parent_and_area() -> None:
    settings = Settings("/source", parse_dataset_name("tank/data"), "tank/data/.area")
    layout = settings.layout(SV)
    assert layout == DatasetLayout(parse_dataset_name("tank/data"), "tank/data/.area", SV)
    assert layout.target == "tank/data/SV"
    assert layout.staging == "tank/data/.area/staging/SV"


def test_nothing_may_be_lost_or_replaced_unless_somebody_says_so() -> None:
    settings = Settings("/source", parse_dataset_name("zsd"), "zsd/.dsgmigd")
    assert (settings.allow_loss, settings.replace_existing) == ((), False)
    assert settings.verify_level == "complete"


def test_a_job_and_its_settings_do_not_change_while_they_are_worked_on() -> None:
    job = Job(SV, Request(), "id", SPOOL_ID)
    with pytest.raises(FrozenInstanceError):
        job.request_id = "another"  # type: ignore[misc]
    settings = Settings("/source", parse_dataset_name("zsd"), "zsd/.dsgmigd")
    with pytest.raises(FrozenInstanceError):
        settings.replace_existing = True  # type: ignore[misc]
