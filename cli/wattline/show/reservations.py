"""Reservations that are not over."""

from collections.abc import Sequence

from wattline.lists.list_of import ListOf
from wattline_protocol.lists.reservation_table import reservation_table
from wattline_protocol.wire.reservations import ReservationView

LIST = ListOf[Sequence[ReservationView], ReservationView](reservation_table)
