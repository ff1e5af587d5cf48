"""The promotion: who challenges the champion, the check that it ought to take its place, and the champion itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.ballot import LISTENING_TEST, show_votes
from assets.championship import CHAMPION, CHAMPION_VALIDATION, gather_facts, standing_champion, verdict
from assets.evaluation import GROUP
from assets.recording import Metadata, markdown_table, materialise, sentence, upstream, with_metadata
from assets.separators import CHECKPOINT
from assets.training_recipes import LOOPBACK
from data.errors import InputError
from data.heard import HEARD
from data.layout import CHAMPION_FILE, CHECKPOINT_FILE, Layout
from data.loopback import PAIRS
from data.recipe import Recipe
from data.settings import Settings
from models.championship import Facts, Trained, opponent
from models.championship import challenger as best_candidate
from models.contest import CONTEST, VALIDATION

CHALLENGER = dg.AssetKey([GROUP, "challenger"])
PROMOTION_CHECK = dg.AssetCheckKey(CHALLENGER, "better_than_the_champion")
_CHALLENGER_CODE, _CHAMPION_CODE = "2", "3"


@dg.asset(
    key=CHALLENGER,
    deps=[CHAMPION_VALIDATION, CHECKPOINT, LISTENING_TEST, LOOPBACK],
    description="The best candidate, named by hand, by votes, or else by uSDR on the validation tracks, track by track "
    "against the standing champion. Its data version is the separator that ought to be champion.",
    kinds={"parquet"},
    code_version=_CHALLENGER_CODE,
)
def challenger(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root, facts = settings.root, gather_facts(settings)
    best, found = _contender(facts), verdict(settings, facts)
    assert found is not None  # for there is somebody

    def work(folder: Path) -> dict[str, Any]:
        CONTEST.write(folder, found.contest.tracks if found.contest else pd.DataFrame(columns=CONTEST.names))
        return {
            "candidate": best.name,
            "fingerprint": best.fingerprint,
            "promoted": found.promoted,
            "reason": found.champion.reason,
            "champion": found.champion.name,
            "champion_fingerprint": found.champion.fingerprint,
            "votes": facts.words,
        }

    recipe, version = challenger_recipe(settings, facts), found.champion.fingerprint
    result = materialise(context, root, recipe=recipe, work=work, show=_show_contest, version=version)
    return with_metadata(result, show_votes(root, facts.votes))


def challenger_recipe(settings: Settings, facts: Facts | None = None) -> Recipe:
    """What the challenger is made of: who that is, the champion that it meets, its scores, and what votes say.

    `facts` are those of the championship, for whoever has gathered them. Raises InputError where nobody can be the
    challenger, or the champion was not measured.
    """
    facts = facts or gather_facts(settings)
    inputs = {
        "challenger": _contender(facts).fingerprint,
        "champion": opponent(facts),
        "champion_validation": upstream(settings.root, CHAMPION_VALIDATION).version,
    }
    return Recipe(_CHALLENGER_CODE, {"votes": facts.words, "by_hand": facts.by_hand}, inputs)


@dg.asset_check(
    asset=CHALLENGER,
    name=PROMOTION_CHECK.name,
    blocking=True,
    description="The best candidate was voted for, or is better than the champion on today's validation tracks by "
    "more than chance explains, or there is no champion yet. Where this fails, the champion stays as it is.",
)
def better_than_the_champion(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    found = upstream(settings.root, CHALLENGER).measured
    return dg.AssetCheckResult(
        passed=found["promoted"],
        description=sentence(found["reason"]),
        metadata={"challenger": found["candidate"], "champion": found["champion"]},
    )


@dg.asset(
    key=CHAMPION,
    deps=[CHECKPOINT, CHALLENGER],
    description="The promoted separator, which `isolate` uses. Replaced by votes, or by a candidate that is better on "
    "the validation tracks by more than chance explains. Scores on held-out tracks never decide.",
    kinds={"pytorch"},
    code_version=_CHAMPION_CODE,
)
def champion(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root, before = settings.root, standing_champion(settings.root)
    found = upstream(root, CHALLENGER).measured
    name, fingerprint, reason = (found[part] for part in ("champion", "champion_fingerprint", "reason"))

    def work(folder: Path) -> dict[str, Any]:
        trained, source = upstream(root, CHECKPOINT, name), Layout(root).checkpoint(name)
        if trained.fingerprint != fingerprint:
            raise InputError(
                "evaluation/champion",
                file=source,
                expected="the training that evaluation/challenger was materialised with",
                found="another one",
                remedy="materialise evaluation/challenger, then evaluation/champion",
            )
        # With what it has heard, and which tracks its validation scores stand over: splits change.
        for file in (CHECKPOINT_FILE, VALIDATION.file, PAIRS.file, HEARD.file):
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)
        content = {"candidate": name, "fingerprint": fingerprint, "reason": reason}
        content["votes"] = found.get("votes", "unknown")  # what decided; an earlier version did not keep it
        content["predecessor"] = before.fingerprint if before and before.fingerprint != fingerprint else ""
        (folder / CHAMPION_FILE).write_text(json.dumps(content, indent=1))
        code = trained.recipe.code_version if trained.recipe else "unknown"
        validation = {part: value for part, value in trained.measured.items() if "validation" in part}
        return {"candidate": name, "reason": reason, "training_code": code, **validation}

    return materialise(context, root, recipe=champion_recipe(settings), work=work)


def champion_recipe(settings: Settings) -> Recipe:
    """What the champion is made of: the separator that ought to be it. Raises InputError where nobody decided."""
    return Recipe(_CHAMPION_CODE, {}, {"challenger": upstream(settings.root, CHALLENGER).version})


def _contender(facts: Facts) -> Trained:
    """Who can be the challenger. Raises InputError where nobody can."""
    best = best_candidate(facts)
    if best is None:
        raise InputError(
            "evaluation/challenger",
            expected="at least one candidate that is trained on today's training pairs",
            found="none",
            remedy="run the job `train`, or `retrain`, for a candidate",
        )
    return best


def _show_contest(folder: Path) -> Metadata:
    table = CONTEST.read(folder)
    return {"contest": dg.MetadataValue.md(markdown_table(table) if len(table) else "no contest was needed")}


ASSETS = [challenger, champion]
CHECKS = [better_than_the_champion]
