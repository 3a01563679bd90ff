"""A follower of one category of decisions: state folded from the vault's log, one entry per stream, kept in
memory.

Opened by services that decide (identity) and by edges that must know what was decided (`access`). How it
follows: bind (an every_instance subscription on the category), read the log from the last position, then
apply what was buffered meanwhile. Each published decision names its predecessor in the category
(`stamp.prev`), so a gap is seen at once; the vault's `CategoryHeads` signal, every second, shows a missed
first or last one. Either way the log is read again. Applying is idempotent by position, and in order.

Promises
- `open` is ready after the first complete reading, or at once from a snapshot on disk, so that a service
  starts while the vault is down. With neither it is ready after `ready_within_s`, empty and stale: `age_s()`
  is infinite until the log was read.
- `age_s()` is the time since the state was last known to be complete, snapshots included. Callers decide what
  is too old.
- A decision that this version cannot read stops the fold there, visibly, so that the age grows: to go on
  would be to miss it. Types that the follower did not name are skipped.
- The snapshot is written atomically and checksummed. One that is damaged, of another format or fold, or of
  another log, is put aside with a warning and the log is read from the start.
"""

from __future__ import annotations

from services.chassis.projection.fold import Fold, Folded
from services.chassis.projection.following import Footing, Projection

__all__ = ["Fold", "Folded", "Footing", "Projection"]
