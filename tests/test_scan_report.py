"""The report of a scan: what is shown first, and what is folded away."""

from qc_jax.scoring.scan_report import shown_first

SOURCES = ("motion", "noise", "blur", "wrap")
FLOOR = 0.0105


def made(*named, **local):
    """A record whose sources but for these are at the limit of detection."""
    scores = {"task": 0.2, **dict.fromkeys(SOURCES, FLOOR)}
    return {"named_causes": list(named), "scores": scores, "local_scores": scores | local}


def test_the_named_cause_comes_first_though_another_is_stronger():
    order = shown_first(made("blur", blur=0.03, noise=0.5), SOURCES)
    assert order == (["blur"], ["noise", "task", "total"], ["motion", "wrap"])


def test_where_none_is_named_the_strongest_comes_first():
    order = shown_first(made(blur=0.03, noise=0.5), SOURCES)
    assert order.first == ["noise"] and order.others == ["blur", "task", "total"]


def test_a_clean_scan_has_its_sources_folded_away():
    order = shown_first(made(), SOURCES)
    assert order == ([], ["task", "total"], list(SOURCES))


def test_where_there_is_no_artefact_none_comes_first():
    order = shown_first(made(noise=0.03) | {"cause_named": True}, SOURCES)
    assert order == ([], ["noise", "task", "total"], ["motion", "blur", "wrap"])


def test_of_two_named_causes_the_one_with_a_map_comes_first():
    order = shown_first(made("noise", "wrap", wrap=0.05), SOURCES)
    assert order.first == ["wrap", "noise"]


def test_a_cause_that_was_told_by_copies_of_the_head_is_shown_without_a_variance():
    order = shown_first(made("wrap"), SOURCES)
    assert order.first == ["wrap"] and "wrap" not in order.folded
    # What has a map is shown beside it.
    order = shown_first(made("wrap", motion=0.04), SOURCES)
    assert order.first == ["wrap", "motion"] and "motion" not in order.others
