//! One session: statements prepared once, answers waited for, what broke it remembered.

use super::args::Arg;
use super::connect::Settings;
use crate::index::sql::{Bulk, Keys, Value};
use crate::index::store::StoreError;
use crate::index::tokens::Token;
use futures_util::future::{join_all, try_join_all};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, unconstrained};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

/// How long an answer may take before the session counts as broken. No statement of ours needs a tenth of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Statements kept prepared: there are some sixty, and those that are put together from parts have few forms.
const MAX_PREPARED: usize = 256;

/// What each session is told first. Every statement is written for an index: a plan that reads a whole table because it was
/// small when the plan was made would stay. What was committed must be on disk whatever the server's default says. A caller
/// that was paused in the middle must not hold up the others.
const BEGIN: &str = "SET enable_seqscan = off; SET jit = off; SET client_min_messages = warning; \
     SET lock_timeout = '15s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '20s'; \
     SET default_transaction_isolation = 'read committed'; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// An open session.
pub(in crate::index) struct Session {
    client: Client,
    driver: Handle,
    place: String,
    prepared: RefCell<HashMap<String, Statement>>,
    /// What goes wrong on the way leaves nobody knowing what the next answer would belong to.
    broken: Cell<bool>,
    /// In a transaction: who left it there has not come to its end.
    open: Cell<bool>,
}

impl Session {
    /// Connects.
    pub(super) fn open(settings: &Settings, driver: &Handle) -> Result<Self, StoreError> {
        let place = settings.place();
        let away = |what: String| StoreError::Away { place: place.clone(), what };
        let client = wait(driver, settings.timeout() + Duration::from_secs(5), settings.connect(driver));
        let client = client.ok_or_else(|| away("no answer in time".into()))?.map_err(away)?;
        let prepared = RefCell::default();
        let session =
            Self { client, driver: driver.clone(), place, prepared, broken: Cell::default(), open: Cell::default() };
        session.batch(BEGIN)?;
        Ok(session)
    }

    pub(in crate::index) fn is_sound(&self) -> bool {
        !self.broken.get() && !self.open.get() && !self.client.is_closed()
    }

    pub(in crate::index) fn rows(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        self.query(sql, &values.iter().map(|value| Arg::One(*value)).collect::<Vec<_>>())
    }

    pub(in crate::index) fn rows_of(
        &self,
        sql: &str,
        keys: Keys<'_>,
        values: &[Value<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let keys = std::iter::once(Arg::keys(keys));
        self.query(sql, &keys.chain(values.iter().map(|value| Arg::One(*value))).collect::<Vec<_>>())
    }

    /// A statement over generations, then tokens, then values.
    pub(in crate::index) fn postings(
        &self,
        sql: &str,
        generations: RangeInclusive<i64>,
        tokens: &[Token],
        values: &[Value<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let generations = Arg::Ints(generations.map(Some).collect());
        let tokens = Arg::Blobs(tokens.iter().map(|token| token.0.as_slice()).collect());
        let values = values.iter().map(|value| Arg::One(*value));
        self.query(sql, &[generations, tokens].into_iter().chain(values).collect::<Vec<_>>())
    }

    fn query(&self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        self.answer(async {
            let statement = self.statement(sql, args).await?;
            self.client.query(&statement, &references(args)).await
        })
    }

    pub(in crate::index) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.change(sql, &values.iter().map(|value| Arg::One(*value)).collect::<Vec<_>>())
    }

    pub(in crate::index) fn execute_many(&self, bulk: &Bulk<'_>) -> Result<u64, StoreError> {
        self.change(&bulk.for_arrays(), &Arg::columns(bulk))
    }

    fn change(&self, sql: &str, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        self.answer(async {
            let statement = self.statement(sql, args).await?;
            self.client.execute(&statement, &references(args)).await
        })
    }

    /// All are on their way before the first is answered: many statements, one round trip.
    pub(in crate::index) fn execute_all(&self, work: &[Bulk<'_>]) -> Result<(), StoreError> {
        let work: Vec<_> = work.iter().filter(|b| !b.is_empty()).map(|b| (b.for_arrays(), Arg::columns(b))).collect();
        self.answer(async {
            let statements = try_join_all(work.iter().map(|(sql, args)| self.statement(sql, args))).await?;
            let runs = statements
                .iter()
                .zip(&work)
                .map(|(statement, (_, args))| async move { self.client.execute(statement, &references(args)).await });
            // After an error the server skips what follows in the transaction; the first error is the cause.
            join_all(runs).await.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
        })
    }

    pub(in crate::index) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        let done = self.answer(self.client.batch_execute(sql));
        match sql {
            "COMMIT" | "ROLLBACK" => self.open.set(done.is_err()),
            _ => self.open.set(self.open.get() || sql.starts_with("BEGIN")),
        }
        done
    }

    async fn statement(&self, sql: &str, args: &[Arg<'_>]) -> Result<Statement, Error> {
        if let Some(statement) = self.prepared.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let types: Vec<_> = args.iter().map(Arg::type_).collect();
        let statement = self.client.prepare_typed(&sql.replace('?', "$"), &types).await?;
        let mut prepared = self.prepared.borrow_mut();
        if prepared.len() >= MAX_PREPARED {
            prepared.clear();
        }
        prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn answer<T>(&self, question: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        match wait(&self.driver, ANSWER_TIMEOUT, question) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(self.fault(&error)),
            None => {
                self.broken.set(true);
                Err(StoreError::Lost { place: self.place.clone() })
            }
        }
    }

    fn fault(&self, error: &Error) -> StoreError {
        let Some(db) = error.as_db_error() else {
            if error.is_closed() || std::error::Error::source(error).is_some_and(|s| s.is::<std::io::Error>()) {
                self.broken.set(true);
                return StoreError::Lost { place: self.place.clone() };
            }
            return StoreError::Postgres { code: String::new(), message: error.to_string() };
        };
        let code = db.code();
        if is_lost(code) {
            self.broken.set(true);
            return StoreError::Lost { place: self.place.clone() };
        }
        if [SqlState::UNIQUE_VIOLATION, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED]
            .contains(code)
        {
            return StoreError::Conflict;
        }
        // Not its detail: that quotes values.
        StoreError::Postgres { code: code.code().to_owned(), message: db.message().to_owned() }
    }
}

/// The server goes down or comes up, has become a standby, or has ended the session.
fn is_lost(code: &SqlState) -> bool {
    let standby = *code == SqlState::READ_ONLY_SQL_TRANSACTION;
    standby || ["57P01", "57P02", "57P03", "57P05", "25P03"].contains(&code.code()) || code.code().starts_with("08")
}

fn references<'a>(args: &'a [Arg<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect()
}

/// Waits for what the driver's runtime brings. A thread that runs other tasks hands them on first.
fn wait<T>(driver: &Handle, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let hand_on = Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    let waiting = || {
        let _clock = driver.enter();
        // Not of the caller's task: its budget of polls is none of ours.
        futures_executor::block_on(unconstrained(tokio::time::timeout(limit, future))).ok()
    };
    if hand_on { block_in_place(waiting) } else { waiting() }
}
