//! Finding rows by blind clauses. One clause leads: its postings are walked in the order of the rows; the others are
//! checked against the marks that lie with each row. So a search costs what its most telling clause finds, not what the
//! database holds.

use super::blind::Clause;
use super::store::{Store, StoreError, Stored, stored_row};
use super::tokens::Token;
use crate::fhir::search::span::{Prefix, Span};
use crate::ids::{ResourceId, TypeName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::ops::ControlFlow;

/// Rows of one generation: their postings lie together, so that a commit touches few pages however large the index is.
const GENERATION: i64 = 1 << 15;
/// Rows that one step of the walk takes in.
const STEP: usize = 512;
/// A clause that finds fewer rows than this leads without more ado.
const FEW: usize = 64;
/// Clauses that find more than this are not told apart.
const MANY: usize = 32_768;
/// Rows that one walk looks at: some seconds of work, which nobody can call off.
const MAX_LOOKED_AT: usize = 1_000_000;

/// What is looked for: the versions that were current, of one type, when row `upto` was the newest.
#[derive(Debug, Clone)]
pub struct Scan {
    pub kind: TypeName,
    /// All must hold.
    pub clauses: Vec<Clause>,
    pub ids: Option<Vec<ResourceId>>,
    /// All must hold; alternatives inside.
    pub updated: Vec<Vec<(Prefix, Span)>>,
    /// Rows after this one.
    pub after: i64,
    pub upto: i64,
    /// Microseconds since 1970.
    pub now: i64,
}

/// The generation that a row's postings lie in.
pub(super) fn generation(row: i64) -> i64 {
    row / GENERATION
}

impl Store {
    /// The newest row: what a search that begins now may see.
    pub fn newest(&self) -> Result<i64, StoreError> {
        self.with(|c| Ok(c.prepare_cached("SELECT coalesce(max(row), 0) FROM record")?.query_row([], |r| r.get(0))?))
    }

    /// The first rows that fit, in order.
    pub fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.with(|c| {
            let c = &snapshot(c)?;
            let mut found = Vec::new();
            if limit > 0 {
                walk(c, scan, &mut |row| {
                    found.push(row);
                    if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
            }
            found.into_iter().filter_map(|row| stored_row(c, row).transpose()).collect()
        })
    }

    /// How many rows fit, counted up to a limit.
    pub fn count(&self, scan: &Scan, limit: usize) -> Result<usize, StoreError> {
        self.with(|c| {
            let c = &snapshot(c)?;
            let mut count = 0;
            walk(c, scan, &mut |_| {
                count += 1;
                if count < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok(count)
        })
    }
}

/// One transaction for the whole walk: SQLite takes and lets go of its lock once, and not for every row.
fn snapshot(c: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(c.transaction_with_behavior(TransactionBehavior::Deferred)?)
}

type Visit<'v> = dyn FnMut(i64) -> ControlFlow<()> + 'v;

fn walk(c: &Connection, scan: &Scan, visit: &mut Visit<'_>) -> Result<(), StoreError> {
    let mut looked_at = 0;
    let mut see = |row: i64| -> Result<ControlFlow<()>, StoreError> {
        looked_at += 1;
        if looked_at > MAX_LOOKED_AT {
            return Err(StoreError::TooWide);
        }
        if fits(c, scan, row)? { Ok(visit(row)) } else { Ok(ControlFlow::Continue(())) }
    };
    if let Some(ids) = &scan.ids {
        let mut rows = by_ids(c, scan, ids)?;
        rows.retain(|row| *row > scan.after);
        return each(rows, &mut see).map(|_| ());
    }
    match leader(c, scan)? {
        Some(tokens) => by_tokens(c, scan, tokens, &mut see),
        None => by_type(c, scan, &mut see),
    }
}

type See<'s> = dyn FnMut(i64) -> Result<ControlFlow<()>, StoreError> + 's;

fn each(rows: Vec<i64>, see: &mut See<'_>) -> Result<ControlFlow<()>, StoreError> {
    for row in rows {
        if see(row)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The version of each id that the snapshot shows.
fn by_ids(c: &Connection, scan: &Scan, ids: &[ResourceId]) -> Result<Vec<i64>, StoreError> {
    // By version, of which there is an index: for max(row) SQLite walks over the rows of the type.
    const SQL: &str = "SELECT row FROM record WHERE type = ?1 AND id = ?2 AND row <= ?3 ORDER BY version DESC LIMIT 1";
    let mut statement = c.prepare_cached(SQL)?;
    let mut rows = Vec::new();
    for id in ids {
        let found = |r: &Row<'_>| r.get::<_, i64>(0);
        rows.extend(statement.query_row(params![scan.kind.as_str(), id.as_str(), scan.upto], found).optional()?);
    }
    rows.sort_unstable();
    rows.dedup();
    Ok(rows)
}

/// The lookups of the clause that finds fewest rows; none: no clause can be looked up.
fn leader<'s>(c: &Connection, scan: &'s Scan) -> Result<Option<&'s [Token]>, StoreError> {
    let mut able: Vec<&[Token]> = scan
        .clauses
        .iter()
        .filter_map(
            |clause| if let Clause::Any { lookups: Some(tokens), .. } = clause { Some(&tokens[..]) } else { None },
        )
        .collect();
    able.sort_by_key(|tokens| tokens.len());
    let mut cap = FEW;
    while able.len() > 1 && cap < MANY {
        let mut still = Vec::new();
        for tokens in &able {
            if finds_fewer(c, scan, tokens, cap)? {
                return Ok(Some(tokens));
            }
            still.push(*tokens);
        }
        able = still;
        cap *= 8;
    }
    Ok(able.first().copied())
}

fn finds_fewer(c: &Connection, scan: &Scan, tokens: &[Token], cap: usize) -> Result<bool, StoreError> {
    const SQL: &str =
        "SELECT count(*) FROM (SELECT 1 FROM posting WHERE generation = ?1 AND token = ?2 AND row > ?3 LIMIT ?4)";
    let mut statement = c.prepare_cached(SQL)?;
    let mut count = 0;
    for generation in generation(scan.after)..=generation(scan.upto) {
        for token in tokens {
            let values = params![generation, token.0.as_slice(), scan.after, (cap - count) as i64];
            count += statement.query_row(values, |r| r.get::<_, i64>(0))? as usize;
            if count >= cap {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn by_tokens(c: &Connection, scan: &Scan, tokens: &[Token], see: &mut See<'_>) -> Result<(), StoreError> {
    for generation in generation(scan.after)..=generation(scan.upto) {
        let mut after = scan.after;
        loop {
            let (rows, horizon) = postings(c, tokens, generation, after, scan.upto)?;
            if each(rows, see)?.is_break() {
                return Ok(());
            }
            match horizon {
                Some(row) => after = row,
                None => break,
            }
        }
    }
    Ok(())
}

/// The next rows of the tokens together, and where to go on: the rows up to there are complete.
fn postings(
    c: &Connection,
    tokens: &[Token],
    generation: i64,
    after: i64,
    upto: i64,
) -> Result<(Vec<i64>, Option<i64>), StoreError> {
    const SQL: &str =
        "SELECT row FROM posting WHERE generation = ?1 AND token = ?2 AND row > ?3 AND row <= ?4 ORDER BY row LIMIT ?5";
    let mut statement = c.prepare_cached(SQL)?;
    let (mut rows, mut horizon) = (Vec::new(), None::<i64>);
    for token in tokens {
        let values = params![generation, token.0.as_slice(), after, upto, STEP as i64];
        let found: Vec<i64> = statement.query_map(values, |r| r.get(0))?.collect::<Result<_, _>>()?;
        if found.len() == STEP {
            horizon = horizon.min(found.last().copied()).or(found.last().copied());
        }
        rows.extend(found);
    }
    rows.retain(|row| horizon.is_none_or(|h| *row <= h));
    rows.sort_unstable();
    rows.dedup();
    Ok((rows, horizon))
}

fn by_type(c: &Connection, scan: &Scan, see: &mut See<'_>) -> Result<(), StoreError> {
    const SQL: &str = "SELECT row FROM record WHERE type = ?1 AND row > ?2 AND row <= ?3 ORDER BY row LIMIT ?4";
    let mut statement = c.prepare_cached(SQL)?;
    let mut after = scan.after;
    loop {
        let values = params![scan.kind.as_str(), after, scan.upto, STEP as i64];
        let rows: Vec<i64> = statement.query_map(values, |r| r.get(0))?.collect::<Result<_, _>>()?;
        let (last, full) = (rows.last().copied(), rows.len() == STEP);
        if each(rows, see)?.is_break() || !full {
            return Ok(());
        }
        after = last.unwrap_or(scan.upto);
    }
}

/// Whether the snapshot shows a row and its marks fulfil the clauses.
fn fits(c: &Connection, scan: &Scan, row: i64) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT type, updated, marks FROM record \
         WHERE row = ?1 AND deleted = 0 AND (until IS NULL OR until > ?2)";
    let mut statement = c.prepare_cached(SQL)?;
    let check = |r: &Row<'_>| {
        let kind = r.get_ref(0)?.as_str()? == scan.kind.as_str();
        let updated: i64 = r.get(1)?;
        let marks = r.get_ref(2)?.as_blob()?;
        Ok(kind && in_time(scan, updated) && scan.clauses.iter().all(|clause| clause.holds(marks.as_chunks().0)))
    };
    Ok(statement.query_row(params![row, scan.upto], check).optional()?.unwrap_or(false))
}

fn in_time(scan: &Scan, updated: i64) -> bool {
    let at = Span { from: updated * 1_000, to: updated * 1_000 + 1_000 };
    scan.updated.iter().all(|any| any.iter().any(|(prefix, asked)| asked.accepts(*prefix, at, scan.now)))
}
