"""Which deliveries of one channel are in hand, and what to tell the broker about those that no longer are.
Pure.

A broker's cost is per message, so acknowledgements travel together: `multiple` up to the last delivery before
which everything is settled (never further: it would acknowledge what is still being worked on). What is
settled out of order waits for those before it, but not for long: a slow one must not keep the window closed.
"""

from __future__ import annotations

from collections import deque

import msgspec


class Settlement(msgspec.Struct, frozen=True):
    """What to send, in this order. `up_to` 0 means nothing."""

    up_to: int
    singly: tuple[int, ...]
    back: tuple[int, ...]


NOTHING = Settlement(0, (), ())


class Ledger:
    """Delivery tags are taken in rising order, as the broker numbers them."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()  # not known to be settled, oldest first
        self._done: set[int] = set()  # settled, not acknowledged
        self._gone: set[int] = set()  # given back or acknowledged singly, and still in `_order`
        self._back: set[int] = set()
        self._up_to = 0  # everything to here is settled ...
        self._sent = 0  # ... and this much was said
        self.in_hand = 0

    def take(self, tag: int) -> None:
        """It was delivered."""
        self._order.append(tag)
        self.in_hand += 1

    def done(self, tag: int) -> None:
        """It is settled. Once for each tag that was taken."""
        self.in_hand -= 1
        if self._order and self._order[0] == tag:
            self._order.popleft()
            self._up_to = tag
            self._advance()
        else:
            self._done.add(tag)

    def give_back(self, tag: int) -> None:
        """It is to be delivered again. Once for each tag that was taken."""
        self.in_hand -= 1
        self._back.add(tag)
        self._gone.add(tag)

    @property
    def waiting(self) -> int:
        """How many acknowledgements have piled up; what was given back counts as urgent by `owes_back`."""
        return self._up_to - self._sent + len(self._done)

    @property
    def owes_back(self) -> bool:
        return bool(self._back)

    @property
    def out_of_order(self) -> int:
        return len(self._done)

    def settle(self, *, singly: bool) -> Settlement:
        """What to send now, and consider it sent. With `singly` what is out of order too."""
        singles: tuple[int, ...] = ()
        if singly and self._done:
            singles = tuple(sorted(self._done))
            self._gone |= self._done
            self._done.clear()
        back = tuple(sorted(self._back))
        self._back.clear()
        up_to = self._up_to if self._up_to > self._sent else 0
        self._sent = max(self._sent, self._up_to)
        if back or singles:
            # Only after the broker is told of these may `multiple` pass over them: it is, before the next
            # settlement.
            self._advance()
        return Settlement(up_to, singles, back)

    def _advance(self) -> None:
        order = self._order
        while order:
            tag = order[0]
            if tag in self._done:
                self._done.discard(tag)
                self._up_to = tag
            elif tag in self._gone and tag not in self._back:
                self._gone.discard(tag)
                # `_up_to` stays: it names a delivery that was acknowledged. Passing over what is gone is
                # harmless, but a tag that the broker does not know closes the channel.
            else:
                return
            order.popleft()
