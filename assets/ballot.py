"""The blind ballot: who is on it, the page that people vote with, and what their votes come to."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from assets.evaluation import GROUP, SCORES, fair_scores, why_not_scored
from assets.recording import Metadata, markdown_table, materialise, upstream, with_metadata
from data.heard import heard_by
from data.layout import KEY_FILE, Layout
from data.recipe import Recipe
from data.settings import Settings
from models.championship import by_audio, on_the_ballot, ranking
from models.contest import VALIDATION
from models.fairness import FairScores

if TYPE_CHECKING:
    from models.listening import VoteDecision  # with the ballot's sounds and pictures, which take a second to load

LISTENING_TEST = dg.AssetKey([GROUP, "listening_test"])
_CODE_VERSION = "4"


@dg.asset(
    key=LISTENING_TEST,
    deps=[SCORES],
    description="A blind ballot over the three best candidates: the reserved tracks under neutral letters. Put the "
    "votes that it saves into the folder `votes` of the storage root: enough voters who agree decide the champion.",
    kinds={"html"},
    code_version=_CODE_VERSION,
)
def listening_test(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[Any]:
    root, layout, fair = settings.root, Layout(settings.root), fair_scores(settings)
    best = on_the_ballot(ranked_candidates(root, fair))

    def work(folder: Path) -> dict[str, Any]:
        from models.listening import BallotTrack, write_ballot
        from models.score import audio_file

        tracks = [
            BallotTrack(
                track.track_id,
                root / track.mixture_path,
                {name: audio_file(layout.scores(name), track.track_id) for name in best},
            )
            for track in fair.reserved.itertuples()
        ]
        ballot = write_ballot(folder, tracks, seed=settings.seed, least_voters=settings.voters)
        return {"ballot_id": ballot, "candidates": len(best), "tracks": len(tracks)}

    def show(folder: Path) -> Metadata:
        return {"ballot": dg.MetadataValue.path(str(folder / "ballot.html"))}

    result = materialise(context, root, recipe=ballot_recipe(settings, fair), work=work, show=show)
    return with_metadata(result, {"left_out": "\n".join(fair.sentences) or "none"})


def ballot_recipe(settings: Settings, fair: FairScores | None = None) -> Recipe:
    """What the ballot is made of: who is on it and what is heard. Another score of the same audio is the same ballot.

    `fair` are today's scores, for whoever has gathered them.
    """
    fair = fair or fair_scores(settings)
    best = on_the_ballot(ranked_candidates(settings.root, fair))
    inputs = {name: upstream(settings.root, SCORES, name).version for name in best}
    parameters = {"seed": settings.seed, "voters": settings.voters, "tracks": list(fair.reserved["track_id"])}
    return Recipe(_CODE_VERSION, parameters, inputs)


def ranked_candidates(root: Path, fair: FairScores) -> list[str]:
    """The candidates that can be compared, the best on validation tracks first: `models.championship.ranking`."""
    folders = {name: Layout(root).checkpoint(name) for name in fair.candidates}
    # Checkpoints from before this table was kept have none.
    kept = {name: folder for name, folder in folders.items() if VALIDATION.path(folder).is_file()}
    tables = {name: by_audio(VALIDATION.read(folder), heard_by(folder)) for name, folder in kept.items()}
    return ranking(fair.candidates, tables)


def vote_decision(settings: Settings) -> "VoteDecision | None":
    """What the votes decide of the candidates as they sound now; None where nobody voted.

    Raises InputError where the votes or the ballot's key cannot be read.
    """
    if not _voted(settings.root):
        return None
    from models.listening import decide_votes

    # A candidate that was trained again since has not been listened to.
    heard = [name for name in voted_on(settings.root) if why_not_scored(settings.root, name) is None]
    votes, key = _votes_and_key(settings.root)
    return decide_votes(votes, key, least_voters=settings.voters, seed=settings.seed, among=heard)


def voted_on(root: Path) -> list[str]:
    """The candidates that people vote on; none where nobody voted. Raises InputError for a damaged key."""
    if not _voted(root):
        return []
    from models.listening import candidates_on

    return candidates_on(_votes_and_key(root)[1])


def show_votes(root: Path, decision: "VoteDecision | None") -> Metadata:
    """The votes as tables: how many each candidate has, and which files do not count."""
    if decision is None:
        return {}
    from models.listening import count_votes

    counted = count_votes(*_votes_and_key(root))
    passed_over = pd.DataFrame(list(decision.passed_over.items()), columns=["file", "why it does not count"])
    told = {"votes_passed_over": dg.MetadataValue.md(markdown_table(passed_over))} if len(passed_over) else {}
    return {"votes_counted": dg.MetadataValue.md(markdown_table(counted)), **told}


def _votes_and_key(root: Path) -> tuple[Path, Path]:
    """The folder of votes, and the file that says who is behind the letters."""
    return Layout(root).votes, Layout(root).listening_test / KEY_FILE


def _voted(root: Path) -> bool:
    votes, key = _votes_and_key(root)
    return key.is_file() and any(votes.glob("*.json"))


ASSETS = [listening_test]
