"""The workers of a PostgreSQL: their leases and signs of life, how they are declared dead, what they hand back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from durable.history.errors import HistoryError
from durable.history.host import Host
from durable.history.stores import plan
from durable.history.stores.postgres_address import Address
from durable.history.stores.postgres_clock import Clock
from durable.history.stores.postgres_connection import WAITS_AT_MOST, Connection, Raw
from durable.history.stores.postgres_errors import HELD_UP, TAKEN
from durable.history.stores.postgres_retry import persist
from durable.history.stores.postgres_signs import Signs
from durable.history.stores.postgres_sql import statements
from durable.history.stores.punctuality import Renewals, is_late
from durable.history.stores.sql import WorkerRow, activity_task, worker_row, workers_with_booked
from durable.history.transition import AttemptToken, Renewal, WorkerInfo

KEEP_DEAD_US = 3600 * 1_000_000
REPLIES_SWEPT_EVERY = 60
QUIET_PARTS_OF_LEASE = 3
"""Without its sign a worker is dead when it has not renewed for this part of its lease: it may be connecting again."""
CONNECTS_EVERY = 0.25
"""Seconds between two tries to connect, while the server can't be reached."""
COMES_BACK_WITHIN = 0.5
"""Seconds in which a living worker whose session has ended shows its sign again, once it can reach the server. For so
long at least a newcomer looks on before it takes a missing sign for a death: it may have come by the same way."""

LIMIT_WAITS = f"SET lock_timeout = '{WAITS_AT_MOST}'"


class Workers:
    """What is done about workers, on a connection of its own, on the loop that renews. ``told`` is called on that loop
    when somebody is found dead between two renewals."""

    def __init__(self, address: Address, host: Host, clock: Clock, told: Callable[[], None]) -> None:
        self._db = Connection(address, self._show_signs, pause_max=CONNECTS_EVERY)
        self._host = host
        self._clock = clock
        self._told = told
        self._sql = statements()
        self._signs = Signs(address)
        self._own: set[str] = set()
        self._seen: set[str] = set()
        """Other workers whose sign was there when this session last looked."""
        self._renewals = Renewals()
        self._sweeps = 0
        self._buried: list[str] = []
        """Who was found dead between two renewals: the next one says so."""
        self._coming_back: asyncio.Task[None] | None = None
        self._looking_back: asyncio.Task[None] | None = None
        self._is_closed = False

    async def close(self) -> None:
        self._is_closed = True
        tasks = [task for task in (self._coming_back, self._looking_back) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._db.close()

    async def _show_signs(self, raw: Raw) -> None:
        """In a new session. Whatever ended the last one may have ended those of others: their signs are yet to come."""
        self._seen.clear()
        raw.add_termination_listener(self._ended)
        if not self._db.address.pooled:
            await raw.execute(LIMIT_WAITS)
        await self._signs.show(raw, self._own)

    def _ended(self, _session: object) -> None:
        """The signs are gone with the session: they are shown again at once, and not with the next renewal."""
        is_coming = self._coming_back is not None and not self._coming_back.done()
        if self._own and not is_coming and not self._is_closed:
            self._coming_back = asyncio.create_task(self._come_back(), name="durable-come-back")

    async def _come_back(self) -> None:
        while self._own:
            with suppress(HistoryError):
                async with self._db.held():
                    return

    async def register(self, worker: WorkerInfo) -> None:
        await persist(lambda: self._register(worker), self._host.random(), self._db.address)
        if self._looking_back is None:
            self._looking_back = asyncio.create_task(self._bury_predecessors(), name="durable-newcomer")

    async def _register(self, worker: WorkerInfo) -> None:
        db = self._db
        async with db.held():
            await self._clock.measure(db)
            now_us = self._host.now_us()
            try:
                async with db.transaction():
                    await db.write_many(self._sql.workers.insert_worker, [worker_row(worker, now_us)])
                    await db.write(self._sql.own.renew, *await self._signed(worker.worker_id, now_us))
            except TAKEN as error:
                raise ValueError(
                    f"worker id {worker.worker_id} is taken: every start of a worker needs a new id"
                ) from error
        if not db.address.pooled:
            self._own.add(worker.worker_id)
        self._renewals.begin(worker.worker_id, now_us)

    async def renew(self, worker: WorkerInfo) -> Renewal:
        return await persist(lambda: self._renew(worker), self._host.random(), self._db.address)

    async def _renew(self, worker: WorkerInfo) -> Renewal:
        db = self._db
        async with db.held():
            rows, booked = await self._look(worker)
            now_us = self._host.now_us()
            if not await db.write_alone(self._sql.own.renew, *await self._signed(worker.worker_id, now_us)):
                return Renewal(alive=False, attempts=[], died=[])
            on_time = self._renewals.are_on_time(worker, self._host.now_us())
            others = [row for row in rows if row.dead_us is None and row.worker_id != worker.worker_id]
            gone = await self._gone(others, now_us)
            # Whoever was late itself may find all others late, and their sessions gone with its own.
            late = [row for row in others if on_time and (row in gone or is_late(row, now_us))]
            died = [row.worker_id for row in late if await self._declare_dead(row)]
            await self._sweep(rows, now_us)
        buried, self._buried = self._buried, []
        return Renewal(alive=True, attempts=booked, died=buried + died)

    async def _signed(self, worker_id: str, now_us: int) -> tuple[int, str, int | None]:
        """What a renewal writes."""
        return now_us, worker_id, await self._signs.keep(self._db, worker_id)

    async def _look(self, worker: WorkerInfo) -> tuple[list[WorkerRow], list[AttemptToken]]:
        """All workers, and the attempts that are booked on this one; and what time it is."""
        async with self._db.reading():
            asked = self._host.monotonic()
            found = await self._db.read(self._sql.own.with_booked, worker.worker_id)
            if found:
                self._clock.shown(asked, found[0][0])
        return workers_with_booked((row[1:] for row in found), worker.worker_id)

    async def _gone(self, others: Sequence[WorkerRow], now_us: int) -> list[WorkerRow]:
        """Those whose sign was there and is not any more; and who don't renew, as who connects again would."""
        foreign = {row.worker_id: row for row in others if row.worker_id not in self._own}
        if not foreign or self._db.address.pooled:
            return []
        held = await self._signs.held(self._db, foreign)
        missing = [row for row in foreign.values() if row.worker_id in self._seen - held]
        gone = [row for row in missing if _quiet_from(row) < now_us]
        self._seen = held | {row.worker_id for row in missing if row not in gone}
        return gone

    async def _bury_predecessors(self) -> None:
        """Those who died before this process came, which has never seen their signs: they have been on this server.

        Whose lease is over is left to the next renewals: what lasts so long may have kept others from renewing too.
        """
        with suppress(HistoryError):  # the next renewals look again, and say so
            async with self._db.held() as session:
                suspects = await self._unsigned()
            while suspects:
                first_us = min(_quiet_from(row) for row in suspects)
                await asyncio.sleep(max(COMES_BACK_WITHIN, (first_us - self._host.now_us()) / 1_000_000))
                known = {row.worker_id for row in suspects}
                suspects = await persist(
                    lambda: self._bury_quiet(session, known),  # noqa: B023 - called before the next turn
                    *(self._host.random(), self._db.address),
                )

    async def _bury_quiet(self, session: Raw, suspects: Collection[str]) -> list[WorkerRow]:
        """Declare dead who has not renewed either; who is left, without a sign and not quiet for long enough."""
        async with self._db.held() as same:
            if same is not session:
                return []  # what ended it may have ended theirs
            now_us = self._host.now_us()
            left: list[WorkerRow] = []
            for row in [row for row in await self._unsigned() if row.worker_id in suspects]:
                if _quiet_from(row) < now_us and await self._declare_dead(row):
                    self._buried.append(row.worker_id)
                    self._told()
                else:
                    left.append(row)
            return left

    async def _unsigned(self) -> list[WorkerRow]:
        """Others whose sign has been on this server, and is missing, while their lease goes on."""
        now_us, server_us = self._host.now_us(), self._signs.server_us
        if server_us is None:
            return []
        rows = [WorkerRow(*row) for row in await self._db.read(self._sql.workers.workers)]
        signed = [row for row in rows if row.dead_us is None and row.signed_us == server_us]
        others = [row for row in signed if row.worker_id not in self._own and not is_late(row, now_us)]
        held = await self._signs.held(self._db, [row.worker_id for row in others])
        self._seen |= held  # whose sign goes from now on, the next renewal misses
        return [row for row in others if row.worker_id not in held]

    async def release(self, worker_id: str) -> None:
        await persist(lambda: self._release(worker_id), self._host.random(), self._db.address)
        if worker_id in self._own:
            self._own.discard(worker_id)
            async with self._db.held():
                await self._signs.drop(self._db, worker_id)
        self._renewals.end(worker_id)

    async def _release(self, worker_id: str) -> None:
        """Hand all back in one transaction. What somebody else holds makes this a death: so it is found later."""
        db, sql = self._db, self._sql
        async with db.writing():
            now_us = self._host.now_us()
            if not await db.read(sql.lock.worker_to_end, [worker_id], None):
                return
            tasks = [activity_task(row) for row in await db.read(sql.own.held_tasks, worker_id)]
            back = [
                plan.handed_back_row(task, now_us)
                for task in tasks
                if not task.lost and task.spec.retry_policy.maximum_attempts != 1
            ]
            await db.write_many(sql.commit_tasks.retry, back)
            # What may begin only once may have begun, its report under way: its attempt is over.
            await db.write(sql.own.lose_tasks, [worker_id], now_us)
            await db.write(sql.own.free_runs, [worker_id])
            if await db.one(sql.own.count_tasks, worker_id):
                await db.write(sql.own.die, worker_id, now_us)
            else:
                await db.write(sql.workers.release_worker, worker_id)

    async def _declare_dead(self, row: WorkerRow) -> bool:
        """Only if it has not renewed since it was read."""
        db, sql = self._db, self._sql
        try:
            async with db.transaction():
                now_us = self._host.now_us()
                if not await db.read(sql.lock.worker_to_end, [row.worker_id], row.renewed_us):
                    return False
                await db.write(sql.own.die, row.worker_id, now_us)
                await db.write(sql.own.bereave_runs, [row.worker_id], now_us)
                await db.write(sql.own.lose_tasks, [row.worker_id], now_us)
        except HELD_UP:
            return False  # it is in the middle of a commit: the next renewal looks again
        return True

    async def _sweep(self, rows: Iterable[WorkerRow], now_us: int) -> None:
        """See to what is left of the dead, and remove what is kept for a while only: they, and answers not fetched."""
        self._sweeps += 1
        db, before_us = self._db, now_us - KEEP_DEAD_US
        dead = [row for row in rows if row.dead_us is not None]
        if dead:
            async with db.transaction():
                await db.write(self._sql.own.lose_tasks, [row.worker_id for row in dead], now_us)
            if any(row.dead_us is not None and row.dead_us < before_us for row in dead):
                with suppress(HELD_UP):  # then the next time
                    async with db.transaction():
                        await db.write(self._sql.workers.forget_dead, before_us)
        if self._sweeps % REPLIES_SWEPT_EVERY == 1:
            with suppress(HELD_UP):
                async with db.transaction():
                    await db.write(self._sql.workers.forget_replies, now_us)


def _quiet_from(row: WorkerRow) -> int:
    """From when on a worker without its sign has not renewed for too long to be only connecting again."""
    return row.renewed_us + row.lease_us // QUIET_PARTS_OF_LEASE
