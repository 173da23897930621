"""Faults of the settings: the file, the variables, the values."""

from __future__ import annotations

from apex_tasks.settings.loading import configs_folder
from tests.support.fault_table.attempt import Change, asked, settings_file
from tests.support.fault_table.case import Case
from tests.support.fault_table.verdicts import refused, same, told

PACKAGED = (configs_folder() / "apex.yaml").read_text()


def edited(old: str, new: str) -> Change:
    """The packaged file with one place changed."""
    assert PACKAGED.count(old) == 1, old
    return settings_file(PACKAGED.replace(old, new))


def added(text: str) -> Change:
    """The packaged file with more lines."""
    return settings_file(PACKAGED + text)


def invalid(name: str) -> object:
    return refused(f"setting {name} is invalid")


CASES = (
    Case("no settings file", asked(APEX_SETTINGS="nowhere.yaml"), refused("settings file is missing"), quick=True),
    Case("the packaged file, copied", settings_file(PACKAGED), same()),
    Case("settings that are no mapping", settings_file("- 1\n- 2\n"), refused("settings file cannot be read"), quick=True),
    Case("settings with a tab", settings_file("ranking:\n\ttop_k: 35\n"), refused("settings file cannot be read"), quick=True),
    Case("settings that are bytes", settings_file("\x00\x01"), refused("settings file cannot be read"), quick=True),
    Case("settings with a key twice", added("\nhome: elsewhere\n"), refused("twice"), quick=True),
    Case("a section twice", added("\nranking:\n  top_k: 12\n"), refused("twice"), quick=True),
    Case("an unknown setting", added("\ntop_k: 12\n"), invalid("top_k"), quick=True),
    Case("an unknown setting in a section", edited("  top_k: 35\n", "  top_k: 35\n  topk: 12\n"), invalid("ranking.topk"), quick=True),
    Case("a Python object in the settings", edited("locked: []", "locked: !!python/object/apply:os.system ['true']"), refused("settings file cannot be read"), quick=True),
    Case("top_k nan", edited("  top_k: 35\n", "  top_k: .nan\n"), invalid("ranking.top_k"), quick=True),
    Case("top_k in words", edited("  top_k: 35\n", "  top_k: many\n"), invalid("ranking.top_k"), quick=True),
    Case("top_k 1 in the settings", edited("  top_k: 35\n", "  top_k: 1\n"), refused("top_k 1 is below the fewest names"), quick=True),
    Case("capital 0", asked(APEX_PORTFOLIO__INITIAL_CAPITAL_JPY="0"), invalid("portfolio.initial_capital_jpy"), quick=True),
    Case("capital infinite", edited("initial_capital_jpy: 10000000", "initial_capital_jpy: .inf"), invalid("portfolio.initial_capital_jpy"), quick=True),
    Case("capital nan", edited("initial_capital_jpy: 10000000", "initial_capital_jpy: .nan"), invalid("portfolio.initial_capital_jpy"), quick=True),
    Case("capital 1 JPY", asked(APEX_PORTFOLIO__INITIAL_CAPITAL_JPY="1"), refused("worth nothing")),
    Case("a largest weight of nan", edited("largest_weight: 0.25", "largest_weight: .nan"), invalid("limits.largest_weight"), quick=True),
    Case("a min_weight of nan", edited("min_weight: 0.02", "min_weight: .nan"), invalid("portfolio.min_weight"), quick=True),
    Case("a turnover_limit of nan", edited("turnover_limit: 0.35", "turnover_limit: .nan"), invalid("portfolio.turnover_limit"), quick=True),
    Case("a cost_penalty of nan", edited("cost_penalty: 1.0", "cost_penalty: .nan"), invalid("portfolio.cost_penalty"), quick=True),
    Case("a cost_penalty that is infinite", edited("cost_penalty: 1.0", "cost_penalty: .inf"), invalid("portfolio.cost_penalty"), quick=True),
    Case("a candidate_multiplier that is infinite", edited("candidate_multiplier: 2.0", "candidate_multiplier: .inf"), invalid("portfolio.candidate_multiplier"), quick=True),
    Case("a k_ratio of nan", edited("k_ratio: 0.60", "k_ratio: .nan"), invalid("selection.k_ratio"), quick=True),
    Case("a k_ratio of 60", edited("k_ratio: 0.60", "k_ratio: 60"), invalid("selection.k_ratio"), quick=True),
    Case("a sign of 0", edited("  sign: 1", "  sign: 0"), invalid("selection.sign"), quick=True),
    Case("a sign of -1 that the bundle overrules", edited("  sign: 1", "  sign: -1"), same()),
    Case("a min_row_ratio of nan", edited("min_row_ratio: 0.95", "min_row_ratio: .nan"), invalid("freshness.min_row_ratio"), quick=True),
    Case("a threshold's bound of nan", edited("bound: 53", "bound: .nan"), refused("thresholds"), quick=True),
    Case("a threshold on a metric that is none", edited("metric: apex_selected_count", "metric: apex_select_count"), refused("thresholds"), quick=True),
    Case("a threshold with another comparison", edited('comparison: "!="', 'comparison: "=~"'), refused("thresholds"), quick=True),
    Case("a critical threshold that the month breaks", edited("bound: 178", "bound: 179"), refused("apex_effective_dim", code=4), quick=True),
    Case("a warning that every month breaks", edited("bound: 20\n", "bound: 0.001\n"), same()),
    Case("a warning that cold starts break", edited("first_build_bound: 28.6", "first_build_bound: 0.1"), told("apex_daily_cost_bps")),
    Case("no thresholds at all", settings_file(PACKAGED[: PACKAGED.index("# CRITICAL")]), told("no critical alert threshold is set")),
    Case("an empty settings file", settings_file(""), told("no critical alert threshold is set")),
    Case("a variable that is no JSON", asked(APEX_THRESHOLDS="{"), refused("settings cannot be read"), quick=True),
    Case("an unknown section in a variable", asked(APEX_RANKING__TOPK="12"), invalid("ranking.topk"), quick=True),
    Case("a locked parameter that is none", asked(APEX_LOCKED="topk"), invalid("locked.0"), quick=True),
    Case("nth_session 0", asked(APEX_SCHEDULE__NTH_SESSION="0"), invalid("schedule.nth_session"), quick=True),
    Case("nth_session 31", asked(APEX_SCHEDULE__NTH_SESSION="31"), refused("nth_session"), quick=True),
    Case("another day of the month is set", asked(APEX_SCHEDULE__NTH_SESSION="2"), refused("not the session before a rebalance day"), quick=True),
)  # fmt: skip
