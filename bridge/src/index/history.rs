//! The histories of the index: of one resource, of a type, of all. Rows and times grow together (`commit.rs` sees to it), so
//! that a time is a row: a page costs the same however long the history is.

use super::store::{Store, StoreError, Stored, many};
use crate::ids::{Name, TypeName};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

/// A page of a history, newest first.
#[derive(Debug, Clone)]
pub struct Page {
    pub of: Of,
    /// Only rows before this one.
    pub before: i64,
    /// Only versions made at this time or later, in milliseconds.
    pub since: Option<i64>,
    /// Only versions that were current at some time in this span: from inclusive, to exclusive.
    pub at: Option<(i64, i64)>,
    pub limit: usize,
}

/// Whose history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Resource(Name),
    Type(TypeName),
    Everything,
}

impl Store {
    /// The versions of a page.
    pub fn history(&self, page: &Page) -> Result<Vec<Stored>, StoreError> {
        self.with(|c| {
            let (condition, values) = condition(c, page)?;
            let sql = format!(
                "SELECT row, type, id, version, pack, offset, length, updated, deleted, (SELECT entry FROM log WHERE log.row = r.row) \
                 FROM record r WHERE {condition} AND row < {} ORDER BY {} DESC LIMIT {}",
                page.before,
                order(&page.of),
                page.limit
            );
            many(c, &sql, params_from_iter(values))
        })
    }

    /// How many versions the pages of a history hold in all.
    pub fn versions(&self, page: &Page) -> Result<u64, StoreError> {
        self.with(|c| {
            let (condition, values) = condition(c, page)?;
            let sql = format!("SELECT count(*) FROM record r WHERE {condition}");
            Ok(c.prepare_cached(&sql)?.query_row(params_from_iter(values), |r| r.get::<_, i64>(0))? as u64)
        })
    }

    /// When the newest record was made.
    pub fn newest_time(&self) -> Result<i64, StoreError> {
        self.with(|c| {
            let sql = "SELECT updated FROM record ORDER BY row DESC LIMIT 1";
            Ok(c.prepare_cached(sql)?.query_row([], |r| r.get(0)).optional()?.unwrap_or(0))
        })
    }
}

/// A resource's versions are in the order of its rows, and there is an index by version.
fn order(of: &Of) -> &'static str {
    if matches!(of, Of::Resource(_)) { "version" } else { "row" }
}

fn condition(c: &Connection, page: &Page) -> Result<(String, Vec<Value>), StoreError> {
    let text = |text: &str| Value::Text(text.to_owned());
    // What was erased is in no history.
    let (mut sql, values) = match &page.of {
        Of::Resource(name) => {
            ("deleted <> 2 AND type = ? AND id = ?".to_owned(), vec![text(name.kind.as_str()), text(name.id.as_str())])
        }
        Of::Type(kind) => ("deleted <> 2 AND type = ?".to_owned(), vec![text(kind.as_str())]),
        Of::Everything => ("deleted <> 2 AND type NOT IN ('Message', 'Erasure')".to_owned(), Vec::new()),
    };
    if let Some(since) = page.since {
        sql.push_str(&format!(" AND row > {}", last_before(c, since)?));
    }
    if let Some((from, to)) = page.at {
        sql.push_str(&format!(
            " AND row <= {} AND NOT EXISTS (SELECT 1 FROM record n WHERE n.type = r.type AND n.id = r.id \
             AND n.version = r.version + 1 AND n.updated <= {from})",
            last_before(c, to)?
        ));
    }
    Ok((sql, values))
}

/// The last row made before a time: found by halving.
pub(super) fn last_before(c: &Connection, time: i64) -> Result<i64, StoreError> {
    let newest: i64 = c.query_row("SELECT coalesce(max(row), 0) FROM record", [], |r| r.get(0))?;
    let (mut before, mut after) = (0, newest + 1);
    let mut at = c.prepare_cached("SELECT updated FROM record WHERE row >= ?1 ORDER BY row LIMIT 1")?;
    while before + 1 < after {
        let middle = before + (after - before) / 2;
        let made: i64 = at.query_row([middle], |r| r.get(0))?;
        *(if made < time { &mut before } else { &mut after }) = middle;
    }
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ResourceId, Version};
    use crate::index::blind::Blinded;
    use crate::index::store::{Batch, NewRecord, Place};
    use crate::vault::pack::Extent;

    /// Versions of a, b, a, c, a at the times 10, 20, 30, 40, 50; the last one is a deletion.
    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        let made =
            [("Patient", "a", 1), ("Group", "b", 1), ("Patient", "a", 2), ("Patient", "c", 1), ("Patient", "a", 3)];
        let records = made.iter().enumerate().map(|(n, (kind, id, version))| NewRecord {
            type_name: (*kind).into(),
            id: ResourceId::parse(id).unwrap(),
            version: Version(*version),
            place: Place { pack: "packs/p".into(), extent: Extent { offset: 7, length: 9 } },
            updated: (n as i64 + 1) * 10,
            deleted: n == 4,
            blinded: Blinded::default(),
            entry: None,
        });
        store.commit(&Batch { records: records.collect(), ..Batch::default() }).unwrap();
        (directory, store)
    }

    fn page(of: Of) -> Page {
        Page { of, before: i64::MAX, since: None, at: None, limit: 10 }
    }

    fn times(store: &Store, page: &Page) -> Vec<i64> {
        store.history(page).unwrap().iter().map(|s| s.updated).collect()
    }

    #[test]
    fn each_history_has_its_versions_newest_first() {
        let (_keep, store) = store();
        let a = Of::Resource(Name::parse("Patient/a").unwrap());
        let patients = Of::Type(TypeName::parse("Patient").unwrap());
        assert_eq!(times(&store, &page(a.clone())), [50, 30, 10]);
        assert!(store.history(&page(a.clone())).unwrap()[0].deleted);
        assert_eq!(times(&store, &page(patients.clone())), [50, 40, 30, 10]);
        assert_eq!(times(&store, &page(Of::Everything)), [50, 40, 30, 20, 10]);
        assert_eq!(times(&store, &Page { before: 4, limit: 2, ..page(patients) }), [30, 10]);
        assert_eq!((store.versions(&page(a)).unwrap(), store.newest_time().unwrap()), (3, 50));
    }

    #[test]
    fn a_time_cuts_the_history_where_it_was() {
        let (_keep, store) = store();
        for (since, expected) in [(0, 5), (10, 5), (11, 4), (50, 1), (51, 0)] {
            let page = Page { since: Some(since), ..page(Of::Everything) };
            assert_eq!(times(&store, &page).len(), expected, "{since}");
            assert_eq!(store.versions(&page).unwrap() as usize, expected);
        }
        for (at, expected) in
            [((5, 6), vec![]), ((35, 36), vec![30, 20]), ((30, 41), vec![40, 30, 20]), ((60, 61), vec![50, 40, 20])]
        {
            assert_eq!(times(&store, &Page { at: Some(at), ..page(Of::Everything) }), expected, "{at:?}");
        }
    }
}
