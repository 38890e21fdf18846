//! Postings: which rows a token finds, in the order of the rows.

use super::sql::{Connection, values};
use super::store::StoreError;
use super::tokens::Token;

/// Rows of one generation: their postings lie together, so that a commit touches few pages however large the index is.
const GENERATION: i64 = 1 << 15;
/// Rows that one step of a walk takes in.
pub(super) const STEP: usize = 512;
/// Generations that PostgreSQL is asked for together, where little is found in them.
const WINDOW: i64 = 64;

/// The generation that a row's postings lie in.
pub(super) fn generation(row: i64) -> i64 {
    row / GENERATION
}

/// How many rows tokens find after a row, counted up to a limit; a row that two of them find counts twice.
pub(super) fn count(
    c: &Connection,
    tokens: &[Token],
    after: i64,
    upto: i64,
    limit: usize,
) -> Result<usize, StoreError> {
    const ONE: &str = "SELECT count(*) FROM (SELECT 1 FROM posting WHERE generation = ?1 AND token = ?2 AND row > ?3 LIMIT ?4) AS found";
    const ALL: &str = "SELECT count(*) FROM \
         (SELECT 1 FROM posting WHERE generation = ANY(?1) AND token = ANY(?2) AND row > ?3 LIMIT ?4) AS found";
    let (first, last) = (generation(after), generation(upto));
    if let Connection::Postgres(session) = c {
        let rows = session.postings(ALL, first..=last, tokens, values![after, limit as i64])?;
        return rows.first().map_or(Ok(0), |row| Ok(row.try_get::<_, i64>(0)? as usize));
    }
    let mut count = 0;
    for generation in first..=last {
        for token in tokens {
            count += c.number(ONE, values![generation, token, after, (limit - count) as i64])? as usize;
            if count >= limit {
                return Ok(count);
            }
        }
    }
    Ok(count)
}

/// A walk over the rows that tokens find.
pub(super) struct Walk<'w> {
    c: &'w Connection,
    tokens: &'w [Token],
    after: i64,
    upto: i64,
    generation: i64,
    /// Generations that the next step looks into.
    window: i64,
}

impl<'w> Walk<'w> {
    pub(super) fn new(c: &'w Connection, tokens: &'w [Token], after: i64, upto: i64) -> Self {
        Self { c, tokens, after, upto, generation: generation(after), window: 1 }
    }

    /// The next rows, in order, each once; none: the walk has ended.
    pub(super) fn step(&mut self) -> Result<Option<Vec<i64>>, StoreError> {
        if self.generation > generation(self.upto) {
            return Ok(None);
        }
        let (mut rows, horizon) = match self.c {
            Connection::Postgres(_) if self.window > 1 || self.tokens.len() > 1 => self.together()?,
            _ => self.one_by_one()?,
        };
        match horizon {
            Some(row) => (self.after, self.generation, self.window) = (row, generation(row), 1),
            None => {
                self.generation += self.window;
                if let Connection::Postgres(_) = self.c {
                    self.window = (self.window * 2).min(WINDOW);
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(Some(rows))
    }

    /// Each token's next rows in one generation, and up to where they are complete, if there are more.
    fn one_by_one(&self) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        const SQL: &str = "SELECT row FROM posting WHERE generation = ?1 AND token = ?2 AND row > ?3 AND row <= ?4 \
             ORDER BY row LIMIT ?5";
        let (mut rows, mut horizon) = (Vec::new(), None::<i64>);
        for token in self.tokens {
            let values = values![self.generation, token, self.after, self.upto, STEP as i64];
            let found = self.c.rows(SQL, values, |r| r.int(0))?;
            if found.len() == STEP {
                horizon = horizon.min(found.last().copied()).or(found.last().copied());
            }
            rows.extend(found);
        }
        rows.retain(|row| horizon.is_none_or(|h| *row <= h));
        Ok((rows, horizon))
    }

    /// The next rows of all tokens in several generations: one round trip.
    fn together(&self) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        const SQL: &str = "SELECT row FROM posting WHERE generation = ANY(?1) AND token = ANY(?2) \
             AND row > ?3 AND row <= ?4 ORDER BY row LIMIT ?5";
        let Connection::Postgres(session) = self.c else { return self.one_by_one() };
        let generations = self.generation..=(self.generation + self.window - 1).min(generation(self.upto));
        let values = values![self.after, self.upto, STEP as i64];
        let found = session.postings(SQL, generations, self.tokens, values)?;
        let rows = found.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<i64>, StoreError>>()?;
        let horizon = rows.last().copied().filter(|_| rows.len() == STEP);
        Ok((rows, horizon))
    }
}
