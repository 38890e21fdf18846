//! Finding rows by blind clauses. One clause leads: its postings are walked in the order of the rows; the others are
//! checked against the marks that lie with each row. So a search costs what its most telling clause finds, not what the
//! database holds.

use super::blind::Clause;
use super::posting::{self, STEP, Walk};
use super::sql::{Connection, Keys, Row, values};
use super::store::{Store, StoreError, Stored, stored_rows};
use super::tokens::Token;
use crate::fhir::search::span::{Prefix, Span};
use crate::ids::{ResourceId, TypeName};
use std::ops::ControlFlow;

/// Rows that are looked at together, at least: one by one each would cost a round trip on PostgreSQL.
const TOGETHER: usize = 32;
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

impl Store {
    /// The newest row: what a search that begins now may see.
    pub fn newest_of(&self, kind: &str) -> Result<i64, StoreError> {
        self.read(|c| c.number("SELECT coalesce(max(row), 0) FROM record WHERE type = ?1", values![kind]))
    }

    /// The newest row of all.
    pub fn newest(&self) -> Result<i64, StoreError> {
        self.read(|c| c.number("SELECT coalesce(max(row), 0) FROM record", &[]))
    }

    /// How many records it has.
    pub fn records(&self) -> Result<u64, StoreError> {
        self.read(|c| Ok(c.number("SELECT count(*) FROM record", &[])? as u64))
    }

    /// The first rows that fit, in order.
    pub fn scan(&self, scan: &Scan, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.read(|c| c.reading(|| stored_rows(c, &fitting(c, scan, limit)?)))
    }

    /// How many rows fit, counted up to a limit.
    pub fn count(&self, scan: &Scan, limit: usize) -> Result<usize, StoreError> {
        self.read(|c| c.reading(|| Ok(fitting(c, scan, limit)?.len())))
    }
}

/// The first rows that fit, in order.
fn fitting(c: &Connection, scan: &Scan, limit: usize) -> Result<Vec<i64>, StoreError> {
    let mut found = Found { c, scan, limit, looked_at: 0, rows: Vec::new() };
    if limit == 0 {
        return Ok(found.rows);
    }
    if let Some(ids) = &scan.ids {
        _ = found.test(&by_ids(c, scan, ids)?)?;
    } else {
        match leader(c, scan)? {
            Some(tokens) => by_tokens(&mut found, tokens)?,
            None => by_type(&mut found)?,
        }
    }
    Ok(found.rows)
}

/// What a walk has found.
struct Found<'w> {
    c: &'w Connection,
    scan: &'w Scan,
    limit: usize,
    looked_at: usize,
    rows: Vec<i64>,
}

impl Found<'_> {
    /// Takes those of some rows that fit, and tells whether it has enough. No more are looked at together than may be wanted.
    fn test(&mut self, rows: &[i64]) -> Result<ControlFlow<()>, StoreError> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min((self.limit - self.rows.len()).max(TOGETHER)));
            self.looked_at += some.len();
            if self.looked_at > MAX_LOOKED_AT {
                return Err(StoreError::TooWide);
            }
            self.rows.extend(fits(self.c, self.scan, some)?);
            if self.rows.len() >= self.limit {
                self.rows.truncate(self.limit);
                return Ok(ControlFlow::Break(()));
            }
            rest = others;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The version of each id that the snapshot shows.
fn by_ids(c: &Connection, scan: &Scan, ids: &[ResourceId]) -> Result<Vec<i64>, StoreError> {
    // By version, of which there is an index: for max(row) both would walk over the rows of the type.
    const ONE: &str = "SELECT row FROM record WHERE id = ?1 AND type = ?2 AND row <= ?3 ORDER BY version DESC LIMIT 1";
    const MANY: &str = "SELECT found.row FROM UNNEST(?1) AS asked (id), LATERAL (SELECT row FROM record \
         WHERE record.id = asked.id AND type = ?2 AND row <= ?3 ORDER BY version DESC LIMIT 1) AS found";
    let sql = if let Connection::Sqlite(_) = c { ONE } else { MANY };
    let ids: Vec<&str> = ids.iter().map(ResourceId::as_str).collect();
    let mut rows = c.rows_of(sql, Keys::Texts(&ids), values![scan.kind.as_str(), scan.upto], |r| r.int(0))?;
    rows.retain(|row| *row > scan.after);
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
    Ok(posting::count(c, tokens, scan.after, scan.upto, cap)? < cap)
}

fn by_tokens(found: &mut Found<'_>, tokens: &[Token]) -> Result<(), StoreError> {
    let mut walk = Walk::new(found.c, tokens, found.scan.after, found.scan.upto);
    while let Some(rows) = walk.step()? {
        if found.test(&rows)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn by_type(found: &mut Found<'_>) -> Result<(), StoreError> {
    const SQL: &str = "SELECT row FROM record WHERE type = ?1 AND row > ?2 AND row <= ?3 ORDER BY row LIMIT ?4";
    let (kind, upto) = (found.scan.kind.as_str(), found.scan.upto);
    let mut after = found.scan.after;
    loop {
        let rows = found.c.rows(SQL, values![kind, after, upto, STEP as i64], |r| r.int(0))?;
        if found.test(&rows)?.is_break() || rows.len() < STEP {
            return Ok(());
        }
        after = rows.last().copied().unwrap_or(upto);
    }
}

/// Those of some rows that the snapshot shows and whose marks fulfil the clauses, in order.
fn fits(c: &Connection, scan: &Scan, rows: &[i64]) -> Result<Vec<i64>, StoreError> {
    const SQL: &str = "SELECT row, updated, marks FROM record \
         WHERE row = ANY(?1) AND type = ?2 AND deleted = 0 AND (until IS NULL OR until > ?3)";
    let check = |r: &Row<'_>| {
        let marks = r.blob(2)?.as_chunks().0;
        let fits = in_time(scan, r.int(1)?) && scan.clauses.iter().all(|clause| clause.holds(marks));
        Ok(if fits { Some(r.int(0)?) } else { None })
    };
    let checked = c.rows_of(SQL, Keys::Ints(rows), values![scan.kind.as_str(), scan.upto], check)?;
    let mut fitting: Vec<i64> = checked.into_iter().flatten().collect();
    fitting.sort_unstable();
    Ok(fitting)
}

fn in_time(scan: &Scan, updated: i64) -> bool {
    let at = Span { from: updated * 1_000, to: updated * 1_000 + 1_000 };
    scan.updated.iter().all(|any| any.iter().any(|(prefix, asked)| asked.accepts(*prefix, at, scan.now)))
}
