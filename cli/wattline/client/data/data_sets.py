"""Data sets: what the registry knows of them. Their bytes are in stores."""

import secrets
from collections.abc import Sequence

from wattline.client.asking import RequestClient
from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.requests import (
    AddData,
    ApproveData,
    ChangeData,
    DataAdded,
    DataPlace,
    DataRemoval,
    DataSets,
    DataSetView,
    DataUses,
    DataVersions,
    GetData,
    GetRegistered,
    GetUses,
    Kind,
    ListData,
    Origin,
    OriginKind,
    PrepareData,
    RebuildData,
    Registered,
    RemoveData,
    ReportDeletion,
    SetChange,
)
from wattline_protocol.ids import JobId
from wattline_protocol.wire.client_messages import Submitted

NO_CHANGE = SetChange()


class DataActs(RequestClient):
    """Acts on data sets and their versions."""

    def prepare_data(self, name: str, kind: Kind = "dataset", store: str = "") -> DataPlace:
        """Where the objects and the manifest of the next version belong."""
        return self.get(PrepareData(name, kind, store), DataPlace)

    def add_data(
        self,
        name: str,
        place: DataPlace,
        *,
        sha256: str,
        files: int,
        size: int,
        stored_bytes: int,
        kind: Kind = "dataset",
        made_from: Sequence[Origin] = (),
        change: SetChange = NO_CHANGE,
        verdict: DataCheck | None = None,
    ) -> DataAdded:
        """Register a version that is in its store; it is on disk when this returns. Raises Conflict
        and Busy where objects of the store were or are deleted: then look at them again."""
        request = AddData(
            name=name,
            kind=kind,
            store=place.store,
            as_of=place.as_of,
            sha256=sha256,
            files=files,
            bytes=size,
            stored_bytes=stored_bytes,
            made_from=tuple(made_from),
            change=change,
            verdict=verdict,
        )
        return self.get(request, DataAdded)

    def change_data(self, name: str, change: SetChange) -> str:
        """Change properties of a set, without another version."""
        return self.act(ChangeData(name, change))

    def data_sets(self) -> tuple[DataSetView, ...]:
        """Sets and models that you may read, by name."""
        return self.get(ListData(), DataSets).sets

    def data_versions(self, name: str) -> DataVersions:
        """The newest versions of a set, oldest first, removed ones included."""
        return self.get(ListData(name), DataVersions)

    def data_version(self, reference: str) -> DataVersions:
        """One version, with what it was made from and what uses it."""
        return self.get(GetData(reference), DataVersions)

    def data_uses(self, kind: OriginKind, name: str) -> tuple[Origin, ...]:
        """Versions that were made from a run, a checkpoint or a version."""
        return self.get(GetUses(kind, name), DataUses).used_by

    def registered(self, manifests: Sequence[str]) -> tuple[str, ...]:
        """Those of at most 1,000 manifests whose versions need their bytes in a store."""
        return self.get(GetRegistered(tuple(manifests)), Registered).manifests

    def approve_data(self, reference: str, alias: str = "stable") -> str:
        """Publish a candidate, and let the alias name it."""
        return self.act(ApproveData(reference, alias))

    def remove_data(self, reference: str) -> DataRemoval:
        """Remove a version; then delete its bytes from its store, and report the receipt."""
        return self.get(RemoveData(reference), DataRemoval)

    def rebuild_data(self, reference: str) -> JobId:
        """Submit again the job that made a version; its output is compared with the version. It
        succeeds if they are equal."""
        return self.get(RebuildData(reference, secrets.token_hex(16)), Submitted).job

    def report_deletion(self, name: str, number: int, *, objects: int, size: int) -> str:
        """What was deleted from the store for a removed version."""
        return self.act(ReportDeletion(name, number, objects, size))
