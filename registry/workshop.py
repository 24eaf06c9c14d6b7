"""The registry's work on assets, identities, mappings and indices, put together: one object of each."""

from __future__ import annotations

from dataclasses import dataclass

from registry.assets.syncs import Followers, Syncs
from registry.assets.upstream import Upstream
from registry.ground import Ground
from registry.identities.imports import Imports
from registry.identities.uploads import Uploads
from registry.indices.due_times import DueTimes
from registry.indices.indices import IndexUsers, Indices
from registry.indices.syncs import IndexSyncs
from registry.mappings.editing import Mappings
from registry.mappings.generation import Generation
from registry.mappings.remaps import Remaps
from registry.mappings.suggestions import Suggestions
from registry.matching.matcher import Matcher
from registry.matching.matches import Matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Everything that the services of assets, mappings and indices call."""

    ground: Ground
    syncs: Syncs
    uploads: Uploads
    imports: Imports
    matches: Matches
    mappings: Mappings
    generation: Generation
    remaps: Remaps
    suggestions: Suggestions
    indices: Indices
    index_syncs: IndexSyncs
    index_due_times: DueTimes

    @classmethod
    def equip(cls, ground: Ground, upstream: Upstream, users: IndexUsers) -> Workshop:
        """Put everything together.

        Args:
            ground: What the work stands on.
            upstream: The services that run sources.
            users: Who trades by an index.
        """
        matches = Matches(ground, Matcher(ground))
        mappings = Mappings(ground)
        generation = Generation(ground, mappings)
        indices = Indices(ground, users)
        index_syncs = IndexSyncs(ground, upstream, indices)
        followers = Followers(
            match=matches.of_source, generate=generation.of_source, sync_indices=index_syncs.of_source
        )
        uploads = Uploads(ground)
        return cls(
            ground=ground,
            syncs=Syncs(ground, upstream, followers),
            uploads=uploads,
            imports=Imports(ground, uploads, matches.of_all),
            matches=matches,
            mappings=mappings,
            generation=generation,
            remaps=Remaps(ground),
            suggestions=Suggestions(ground, mappings),
            indices=indices,
            index_syncs=index_syncs,
            index_due_times=DueTimes(ground, indices),
        )
