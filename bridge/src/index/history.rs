//! The histories of the index: of one resource, of a type, of all. Rows and times grow together (`commit.rs` sees to it), so
//! that a time is a row: a page costs the same however long the history is.

use super::sql::{Connection, Keys, Value, values};
use super::store::{STORED, Store, StoreError, Stored, many};
use super::write;
use crate::ids::{Name, TypeName};

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
        self.read(|c| {
            let mut which = condition(c, page)?;
            let (before, limit) = (which.value(page.before.into()), which.value((page.limit as i64).into()));
            let (condition, order) = (&which.sql, order(&page.of));
            let sql = format!("{STORED} WHERE {condition} AND row < {before} ORDER BY {order} DESC LIMIT {limit}");
            many(c, &sql, &which.values)
        })
    }

    /// How many versions the pages of a history hold in all.
    pub fn versions(&self, page: &Page) -> Result<u64, StoreError> {
        self.read(|c| {
            let which = condition(c, page)?;
            Ok(c.number(&format!("SELECT count(*) FROM record WHERE {}", which.sql), &which.values)? as u64)
        })
    }

    /// Those of some rows that hold a version which is not the current one any more.
    pub fn superseded(&self, rows: &[i64]) -> Result<Vec<i64>, StoreError> {
        const SQL: &str = "SELECT row FROM record WHERE row = ANY(?1) AND current = 0";
        self.read(|c| c.rows_of(SQL, Keys::Ints(rows), &[], |r| r.int(0)))
    }

    /// When the newest record was made.
    pub fn newest_time(&self) -> Result<i64, StoreError> {
        self.read(|c| Ok(write::newest(c)?.map_or(0, |(_, time)| time)))
    }
}

/// A resource's versions are in the order of its rows, and there is an index by version.
fn order(of: &Of) -> &'static str {
    if matches!(of, Of::Resource(_)) { "version" } else { "row" }
}

/// Which rows, and the values that say so.
#[derive(Default)]
struct Condition<'p> {
    sql: String,
    values: Vec<Value<'p>>,
}

impl<'p> Condition<'p> {
    /// A value's number in the statement.
    fn value(&mut self, value: Value<'p>) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }
}

fn condition<'p>(c: &Connection, page: &'p Page) -> Result<Condition<'p>, StoreError> {
    let mut which = Condition::default();
    // What was erased is in no history.
    which.sql = match &page.of {
        Of::Resource(name) => {
            let (kind, id) = (which.value(name.kind.as_str().into()), which.value(name.id.as_str().into()));
            format!("deleted <> 2 AND type = {kind} AND id = {id}")
        }
        Of::Type(kind) => format!("deleted <> 2 AND type = {}", which.value(kind.as_str().into())),
        Of::Everything => "deleted <> 2 AND type NOT IN ('Message', 'Quarantine', 'Erasure')".to_owned(),
    };
    if let Some(since) = page.since {
        let row = which.value(last_before(c, since)?.into());
        which.sql.push_str(&format!(" AND row > {row}"));
    }
    if let Some((from, to)) = page.at {
        let (last, from) = (which.value(last_before(c, to)?.into()), which.value(from.into()));
        which.sql.push_str(&format!(
            " AND row <= {last} AND NOT EXISTS (SELECT 1 FROM record n WHERE n.type = record.type AND n.id = record.id \
             AND n.version = record.version + 1 AND n.updated <= {from})"
        ));
    }
    Ok(which)
}

/// The last row made before a time: found by halving.
pub(super) fn last_before(c: &Connection, time: i64) -> Result<i64, StoreError> {
    const SQL: &str = "SELECT updated FROM record WHERE row >= ?1 ORDER BY row LIMIT 1";
    let newest = write::newest(c)?.map_or(0, |(row, _)| row);
    let (mut before, mut after) = (0, newest + 1);
    while before + 1 < after {
        let middle = before + (after - before) / 2;
        let made = c.number(SQL, values![middle])?;
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
    use crate::index::stores;
    use crate::vault::pack::Extent;

    /// Versions of a, b, a, c, a at the times 10, 20, 30, 40, 50; the last one is a deletion.
    fn fill(store: &Store) {
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
    }

    fn page(of: Of) -> Page {
        Page { of, before: i64::MAX, since: None, at: None, limit: 10 }
    }

    fn times(store: &Store, page: &Page) -> Vec<i64> {
        store.history(page).unwrap().iter().map(|s| s.updated).collect()
    }

    #[test]
    fn each_history_has_its_versions_newest_first() {
        for (_keep, store) in stores() {
            fill(&store);
            let a = Of::Resource(Name::parse("Patient/a").unwrap());
            let patients = Of::Type(TypeName::parse("Patient").unwrap());
            assert_eq!(times(&store, &page(a.clone())), [50, 30, 10]);
            assert!(store.history(&page(a.clone())).unwrap()[0].deleted);
            assert_eq!(times(&store, &page(patients.clone())), [50, 40, 30, 10]);
            assert_eq!(times(&store, &page(Of::Everything)), [50, 40, 30, 20, 10]);
            assert_eq!(times(&store, &Page { before: 4, limit: 2, ..page(patients) }), [30, 10]);
            assert_eq!((store.versions(&page(a)).unwrap(), store.newest_time().unwrap()), (3, 50));
        }
    }

    #[test]
    fn a_time_cuts_the_history_where_it_was() {
        for (_keep, store) in stores() {
            fill(&store);
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
}
