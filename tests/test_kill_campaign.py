"""A short campaign of kills, in every run; the long one is benchmarks/kill_campaign.py by hand."""

import random

from kill_campaign import Campaign


def test_what_is_killed_goes_on_loses_no_finished_fold_and_leaves_nothing_behind(tmp_path):
    campaign = Campaign(tmp_path, random.Random(1))
    campaign.search("small", 3, 1, most=12)
    campaign.search_through("other", 3, 2, campaign.kill_worker, 3)
    campaign.compare("other", "small")
    campaign.confirm("small", 0, 3, seeds=6, kills=1, most=30)
    assert campaign.wrong == []
    assert campaign.kills == 4
