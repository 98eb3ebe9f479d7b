"""The index of runs: an SQLite view of run folders for quick lists, rebuilt from them at any time.

The folders are the truth. A missing, damaged, older or unwritable index is replaced, never fatal; one made by a newer
Etude is refused, because replacing it would take that one's work away.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, ForeignKey, create_engine, delete, event, select, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from etude.errors import RunError
from etude.runs.directory import is_run
from etude.runs.summary import RunSummary, find_runs, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = 1
BUSY_MILLISECONDS = 5_000
READS = "etude_reads"
"""Execution option of transactions that only read."""


class Base(DeclarativeBase):
    """The tables of the index."""


class RunRow(Base):
    """One run as it stood when it was last indexed."""

    __tablename__ = "runs"

    path: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str | None]
    name: Mapped[str]
    state: Mapped[str]
    base: Mapped[str | None]
    base_hash: Mapped[str | None]
    technique: Mapped[str]
    created: Mapped[str | None]
    parent: Mapped[str | None]
    heldout_loss: Mapped[float | None]
    scores: Mapped[list[ScoreRow]] = relationship(
        back_populates="run", cascade="all, delete-orphan", order_by="ScoreRow.task", lazy="selectin"
    )


class ScoreRow(Base):
    """One task's primary score before and after, and the verdict."""

    __tablename__ = "scores"

    path: Mapped[str] = mapped_column(ForeignKey("runs.path", ondelete="CASCADE"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str]
    n: Mapped[int]
    base: Mapped[float]
    tuned: Mapped[float]
    difference: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    answer: Mapped[str]
    run: Mapped[RunRow] = relationship(back_populates="scores")


def home() -> Path:
    """Etude's own folder: $ETUDE_HOME, or ~/.cache/etude."""
    return Path(os.environ.get("ETUDE_HOME") or Path.home() / ".cache" / "etude")


class Store:
    """An open index. `note` says what had to be done to open it, if anything."""

    def __init__(self, engine: Engine, note: str | None = None) -> None:
        self._engine = engine
        self.note = note

    @classmethod
    def open(cls, path: Path | None = None) -> Store:
        """The index at `path` ($ETUDE_HOME/index.db); raises RunError for one made by a newer Etude."""
        place = path or home() / "index.db"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return cls(_opened(place))
        except OSError as error:
            return cls(_in_memory(), f"{place}: {error.strerror}; the list is made afresh each time")
        except DatabaseError as error:
            if isinstance(error, OperationalError) and not _is_damaged(error):
                return cls(_in_memory(), f"{place}: {error.orig}; the list is made afresh each time")
            moved = _set_aside(place)
            return cls(
                _opened(place), f"{place} was damaged ({error.orig}) and is rebuilt; the old one is {moved.name}"
            )

    def close(self) -> None:
        self._engine.dispose()

    def record(self, run: Path) -> RunSummary:
        """Index one run's folder as it stands now; raises RunError when there is none."""
        summary = summarize(run)
        with self._writing() as session:
            _put(session, summary)
        return summary

    def scan(self, folder: Path) -> list[RunSummary]:
        """Make the index agree with the runs in a folder: new ones in, changed ones updated, vanished ones out."""
        summaries = [summarize(path) for path in find_runs(folder)]
        inside = str(folder.resolve())
        kept = {str(summary.path) for summary in summaries}
        with self._writing() as session:
            for path in session.scalars(select(RunRow.path)).all():
                if path not in kept and (path == inside or path.startswith(inside.rstrip(os.sep) + os.sep)):
                    session.execute(delete(RunRow).where(RunRow.path == path))
            for summary in summaries:
                _put(session, summary)
        return summaries

    def refresh(self) -> None:
        """Make every indexed run agree with its folder; those that are gone are taken out."""
        with self._reading() as session:
            paths = [Path(path) for path in session.scalars(select(RunRow.path))]
        found = [summarize(path) for path in paths if is_run(path)]
        with self._writing() as session:
            session.execute(delete(RunRow).where(RunRow.path.in_([str(path) for path in paths if not is_run(path)])))
            for summary in found:
                _put(session, summary)

    def runs(self, folder: Path | None = None) -> list[RunRow]:
        """The indexed runs, newest first; only those in a folder if one is given."""
        with self._reading() as session:
            rows = session.scalars(select(RunRow).order_by(RunRow.created.desc(), RunRow.path)).all()
        if folder is None:
            return list(rows)
        inside = folder.resolve()
        return [row for row in rows if Path(row.path).is_relative_to(inside)]

    def find(self, run_id: str) -> list[RunRow]:
        """The runs whose id begins so."""
        with self._reading() as session:
            chosen = select(RunRow).where(RunRow.run_id.startswith(run_id, autoescape=True))
            return list(session.scalars(chosen.order_by(RunRow.path)).all())

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with Session(self._engine.execution_options(**{READS: True}), expire_on_commit=False) as session:
            yield session


def _put(session: Session, summary: RunSummary) -> None:
    manifest = summary.manifest
    path = str(summary.path)
    session.merge(
        RunRow(
            path=path,
            run_id=manifest.run_id if manifest else None,
            name=summary.name,
            state=summary.state,
            base=manifest.base.name if manifest else None,
            base_hash=manifest.base.hash if manifest else None,
            technique=summary.technique,
            created=manifest.created if manifest else None,
            parent=manifest.parent if manifest else None,
            heldout_loss=summary.heldout_loss,
            scores=[ScoreRow(path=path, **asdict(score)) for score in summary.scores],
        )
    )


def _opened(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_MILLISECONDS / 1000})
    _configure(engine)
    try:
        with engine.begin() as connection:
            found = connection.execute(text("PRAGMA user_version")).scalar_one()
            if found > SCHEMA:
                raise RunError(
                    f"made by a newer Etude (schema {found}, this one knows {SCHEMA})",
                    where=str(path),
                    remedy="update Etude, or set ETUDE_HOME to another folder",
                )
            _make_tables(connection, found)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_tables(connection: Connection, found: int) -> None:
    if found < SCHEMA:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
        connection.execute(text(f"PRAGMA user_version = {SCHEMA}"))
    connection.execute(select(RunRow.path).limit(1))
    connection.execute(select(ScoreRow.path).limit(1))


def _in_memory() -> Engine:
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    _configure(engine)
    with engine.begin() as connection:
        _make_tables(connection, 0)
    return engine


def _configure(engine: Engine) -> None:
    """WAL, a patient lock, and writers that take the write lock at once, so that they never fail half-way."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode = WAL", f"busy_timeout = {BUSY_MILLISECONDS}", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _is_damaged(error: OperationalError) -> bool:
    """Tables missing or shaped otherwise; SQLite's other operational errors are locks and permissions."""
    return any(sign in str(error.orig) for sign in ("no such table", "no such column", "malformed", "disk image"))


def _set_aside(path: Path) -> Path:
    moved = path.with_name(f"{path.name}.damaged")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(path, moved)
    return moved
