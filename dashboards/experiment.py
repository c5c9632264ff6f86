"""The MLflow experiment of a sweep: found again by a tag, made if it is not there."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from dashboards.sender import Sender
from dashboards.ship_state import Shipped
from dashboards.store import artifact_root

if TYPE_CHECKING:
    from mlflow.entities import Experiment

ID_TAG = "s4sweep.ship_id"
PAGE = 1000


def find_or_create(sender: Sender) -> None:
    """Set `sender.shipped.experiment_id`, and find the runs that are there but not written down.

    The experiment is called as the sweep. Should another sweep have that name already (another
    home on a shared server, or one that was deleted from this home and started anew), the next free
    of `name-2`, `name-3` ... is taken: experiments are never mixed and never deleted. One that its
    user has deleted in MLflow is restored.
    """
    shipped, client = sender.shipped, sender.client
    found = _known(sender)
    if found is None:  # new, or a store that has lost what it had
        found = _by_name(sender)
        sender.shipped = Shipped(ship_id=shipped.ship_id, experiment_id=found.experiment_id)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    sender.orphans = _runs(sender)


def _known(sender: Sender) -> Experiment | None:
    number = sender.shipped.experiment_id
    everything = 3  # ViewType.ALL: deleted ones too
    if number is None:
        return None
    mine = sender.client.search_experiments(
        view_type=everything, filter_string=f"tags.`{ID_TAG}` = '{sender.shipped.ship_id}'"
    )
    return mine[0] if mine and mine[0].experiment_id == number else None


def _by_name(sender: Sender) -> Experiment:
    client, record = sender.client, sender.record
    for i in itertools.count(1):
        name = record.name if i == 1 else f"{record.name}-{i}"
        found = client.get_experiment_by_name(name)
        if found is None:
            root = artifact_root(record.home, sender.uri)
            place = None if root is None else f"{root}/{name}"
            tags = {ID_TAG: sender.shipped.ship_id, "sweep": record.name, "home": str(record.home)}
            tags["mlflow.experimentKind"] = "custom_model_development"  # not the pages for chats
            return client.get_experiment(client.create_experiment(name, place, tags))
        if found.tags.get(ID_TAG) == sender.shipped.ship_id:
            return found
    raise AssertionError("count() does not end")


def _runs(sender: Sender) -> dict[int, str]:
    """Runs of the experiment by trial number."""
    runs: dict[int, str] = {}
    token = None
    while True:
        page = sender.client.search_runs([sender.experiment_id], max_results=PAGE, page_token=token)
        runs |= {int(r.data.tags["trial"]): r.info.run_id for r in page if "trial" in r.data.tags}
        token = page.token
        if not token:
            return runs
