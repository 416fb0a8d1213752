"""What the demo shows: how it goes, while it runs; then both sides of the account, and where to look next."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo_audit import Report

PROBLEMS_SHOWN = 20
ORDER = os.path.relpath(Path(__file__).with_name("order.py"))
LINES = 10  # progress lines where there is no terminal to draw a bar in


class Screen:
    """Live progress: a bar in a terminal, else a line now and then."""

    def __init__(self, orders: int) -> None:
        self._orders = orders
        self._placed = self._shipped = self._failed = 0
        self._console = Console(highlight=False)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.completed:3.0f} of {task.total:.0f} orders over"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._bar = self._progress.add_task("", total=orders)

    def __enter__(self) -> "Screen":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def open(self) -> int:
        """Orders placed and not over."""
        return self._placed - self._shipped - self._failed

    def say(self, what: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(f"[bold]{what}[/bold]" if self._live else what)

    def placed(self) -> None:
        self._placed += 1
        self._draw()

    def shipped(self) -> None:
        self._shipped += 1
        self._over()

    def failed(self) -> None:
        self._failed += 1
        self._over()

    def _over(self) -> None:
        over = self._shipped + self._failed
        self._draw()
        if not self._live and over * LINES // self._orders != (over - 1) * LINES // self._orders:
            self._console.print(f"  {over:3} of {self._orders} orders over · {self._counts()}")

    def _draw(self) -> None:
        self._progress.update(self._bar, completed=self._shipped + self._failed, description=self._counts())

    def _counts(self) -> str:
        return f"{self._shipped} shipped · {self._failed} refused · {self.open} open"


def show(
    report: Report,
    shares: Sequence[int],
    deaths: Sequence[int],
    problems: Sequence[str],
    folder: Path,
    seconds: float,
) -> None:
    """Both sides of the account, the verdict, and where to look next."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print()
    console.print(_account(report))
    if len(shares) > 1:
        console.print(f"attempts of each of the {len(shares)} workers: {', '.join(map(str, shares))}")
    console.print(f"worker deaths: {len(deaths)} by SIGKILL (process ids {', '.join(map(str, deaths))})")
    console.print(_repeats(report))
    console.print()
    if problems:
        console.print(f"[bold red]{len(problems)} things are wrong[/bold red] after {seconds:.0f} s:")
        for problem in problems[:PROBLEMS_SHOWN]:
            console.print(f"  {problem}", markup=False)
        if len(problems) > PROBLEMS_SHOWN:
            console.print(f"  … and {len(problems) - PROBLEMS_SHOWN} more")
    else:
        console.print(f"[bold green]All is right[/bold green], {seconds:.0f} s after the first order.")
    console.print()
    console.print(_next_steps(report, folder), markup=False, soft_wrap=True)


def _account(report: Report) -> Table:
    table = Table(title=f"{report.orders} orders, told by both sides", title_justify="left")
    table.add_column("")
    table.add_column("the shop's books", justify="right")
    table.add_column("the histories", justify="right")

    def row(what: str, figures: tuple[int, int]) -> None:
        table.add_row(what, str(figures[0]), str(figures[1]))

    row("orders completed: reserved, charged, shipped", report.shipped)
    row("orders compensated: refused, refunded, released", report.refunded)
    row("effects, and activities completed", report.effects)
    row("… of which the other side knows nothing", (len(report.only_in_books), len(report.only_in_histories)))
    table.add_row("attempts (in the books: that came through)", *(str(each) for each in report.attempts))
    table.add_row("… of which retries", "", str(report.retries))
    table.add_row("orders whose ledger is balanced", f"{report.balanced} of {report.orders}", "")
    table.add_row("units and cents still held for customers", f"{report.held[0]} and {report.held[1]}", "")
    return table


def _repeats(report: Report) -> str:
    total = sum(len(repeats) for repeats in report.repeats.values())
    reasons = "".join(f"\n  {len(repeats):3} because {reason}" for reason, repeats in report.repeats.items() if repeats)
    return f"attempts that found their effect there already, and did not repeat it: {total}{reasons}"


def _next_steps(report: Report, folder: Path) -> str:
    repeated = next((order_id for repeats in report.repeats.values() for order_id, _ in repeats), None)
    example = repeated or f"order-{report.orders:03}"
    durable = os.path.relpath(Path(sys.executable).with_name("durable"))
    if (folder / "durable.db").exists():
        look = f"""export DURABLE_ADDRESS=sqlite:///{folder / "durable.db"}
  {durable} list
  {durable} history {example}"""
    else:
        look = f"""{durable} replay -m {ORDER} {folder / "histories"}
  {durable} debug -m {ORDER} --history {folder / "histories" / example}.json"""
    return f"""Where to look next:
  {look}
  sqlite3 {folder / "shop.db"} "SELECT * FROM attempts WHERE order_id = '{example}'"
  {folder / "worker.log"}: what the workers had to say
  samples/order.py: the workflow and its activities"""
