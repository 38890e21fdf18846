//! Searching: `filters -> chains resolved -> clauses -> rows -> fetch -> open -> exact test -> page -> includes`. The index
//! proposes, the opened resource decides. Every type that a search looks into is decided on its own, and what a permit is not for
//! was not found: it is in no page, no total and no chain.

pub(crate) mod bounds;
pub mod candidates;
pub mod compartment;
mod include;
mod order;

use crate::app::Core;
use crate::consent::decide::{Denied, Permit, decide};
use crate::error::VaultError;
use crate::fhir::search::check::{found, holds};
use crate::fhir::search::criterion::{Criterion, Surroundings, Target, normal};
use crate::fhir::search::query::{Filter, Search, Total};
use crate::fhir::search::value::Value;
use crate::ids::{Name, TypeName};
use crate::index::scan::Scan;
use crate::index::store::{Store, StoreError, Stored};
use crate::limits::{
    DEFAULT_PAGE, MAX_CHAINED, MAX_CHEAP_TOTAL, MAX_OPENED, MAX_OPENED_FOR_TOTAL, MAX_PAGE_BYTES, SEARCH_TIMEOUT,
};
use crate::read::{Opened, in_background, let_through};
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use bounds::narrow;
use futures_util::future::try_join_all;
use include::Included;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Records that are fetched at the same time: an S3 server answers them together.
const FETCHES: usize = 16;
/// Rows that the index proposes at a time.
const AT_ONCE: usize = 256;
const TOO_LONG: SearchError = SearchError::TooCostly("the search takes too long: narrow it");
const TOO_WIDE: SearchError = SearchError::TooCostly("the search looks through too many resources: narrow it");

/// Where a page begins. Goes into the sealed cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The newest row when the first page was made: later changes are not seen.
    pub upto: i64,
    /// The last row of the page before; in an order of its own, how many come before.
    pub after: i64,
    pub total: Option<u64>,
}

/// A page of a search.
#[derive(Debug)]
pub struct Page {
    pub matches: Vec<Opened>,
    pub included: Included,
    pub total: Option<u64>,
    pub next: Option<Position>,
}

/// Why a search gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0}")]
    TooCostly(&'static str),
}

type Result<T> = std::result::Result<T, SearchError>;

/// A search as it is run: who asks, and what the exact test needs to know.
pub(crate) struct Run<'r> {
    pub(crate) core: &'r Core,
    pub(crate) caller: &'r Caller,
    pub(crate) around: Surroundings<'r>,
}

/// The filters of a search without chains, and what they ask of the index.
struct Plan {
    filters: Vec<Filter>,
    scan: Scan,
    /// Whatever the scan finds fits.
    exact: bool,
}

/// Runs a search from its first page, or from where the last one ended.
#[tracing::instrument(skip_all)]
pub async fn search(
    core: &Core,
    caller: &Caller,
    around: Surroundings<'_>,
    search: &Search,
    from: Option<Position>,
) -> Result<Page> {
    let run = Run { core, caller, around };
    // What is not answered by then is dropped: a search that nobody waits for any more must not go on.
    tokio::time::timeout(SEARCH_TIMEOUT, run.search(search, from)).await.unwrap_or(Err(TOO_LONG))
}

/// Shows every resource that fits, up to a limit; more are an error. What is kept of them is the visitor's affair: ten
/// thousand names are little, ten thousand resources are not.
pub(crate) async fn all(
    run: &Run<'_>,
    kind: TypeName,
    filters: &[Filter],
    upto: i64,
    limit: usize,
    mut visit: impl FnMut(Opened),
) -> Result<()> {
    let permit = decide(run.caller, Interaction::Search, Some(kind))?;
    let plan = run.plan(&permit, kind, filters, upto).await?;
    let mut room = limit;
    let rest = run.walk(&permit, &plan, 0, AT_ONCE, |opened| {
        if room == 0 {
            return false;
        }
        room -= 1;
        visit(opened);
        true
    });
    if rest.await?.is_some() { Err(TOO_WIDE) } else { Ok(()) }
}

impl Run<'_> {
    async fn search(&self, search: &Search, from: Option<Position>) -> Result<Page> {
        let permit = decide(self.caller, Interaction::Search, Some(search.kind))?;
        let upto = match from {
            Some(position) => position.upto,
            None => self.store(|store| store.newest()).await?,
        };
        let plan = self.plan(&permit, search.kind, &search.filters, upto).await?;
        let count = search.count.unwrap_or(DEFAULT_PAGE);
        let mut page = if search.sort.is_empty() {
            self.page_by_row(&permit, plan, count, search.total, from).await?
        } else {
            order::page(self, &permit, plan, &search.sort, count, from).await?
        };
        page.included = include::of(self, &search.includes, &page.matches, upto).await?;
        self.caller.seen.shows(page.matches.iter().chain(&page.included.resources).map(Opened::as_shown));
        Ok(page)
    }

    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> std::result::Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let store = self.core.store.clone();
        in_background(move || work(&store)).await.map_err(|error| match error {
            VaultError::Index(StoreError::TooWide) => TOO_WIDE,
            other => other.into(),
        })
    }

    async fn plan(&self, permit: &Permit, kind: TypeName, filters: &[Filter], upto: i64) -> Result<Plan> {
        let mut resolved = Vec::with_capacity(filters.len());
        for filter in filters {
            resolved.push(Box::pin(self.resolve(kind, filter, upto)).await?);
        }
        let mut scan =
            Scan { kind, clauses: Vec::new(), ids: None, updated: Vec::new(), after: 0, upto, now: self.around.now };
        // Of a part each resource must be looked at.
        let mut exact = permit.shows_all();
        for filter in &resolved {
            match filter {
                Filter::Ids(ids) => match &mut scan.ids {
                    Some(narrowed) => narrowed.retain(|id| ids.contains(id)),
                    None => scan.ids = Some(ids.clone()),
                },
                Filter::Updated(alternatives) => scan.updated.push(alternatives.clone()),
                _ => {}
            }
            let asked = self.core.tokens.clauses(kind, filter, self.around.now);
            scan.clauses.extend(asked.clauses);
            exact &= asked.exact;
        }
        narrow(&self.core.tokens, permit, &self.around, &mut scan);
        Ok(Plan { filters: resolved, scan, exact })
    }

    /// A chain becomes the references that fit, `_has` the ids that are referred to.
    async fn resolve(&self, kind: TypeName, filter: &Filter, upto: i64) -> Result<Filter> {
        match filter {
            Filter::Chain { parameter, targets } => {
                let mut names: Vec<Name> = Vec::new();
                for (kind, inner) in targets {
                    let keep = |opened: Opened| names.push(opened.stored.name);
                    all(self, *kind, std::slice::from_ref(inner), upto, MAX_CHAINED, keep).await?;
                }
                let alternatives = vec![Criterion::Reference(Target::Local(names))];
                Ok(Filter::Values { parameter, negated: false, alternatives })
            }
            Filter::Has { kind: from, reference, inner } => {
                let mut ids = HashSet::new();
                let keep = |opened: Opened| {
                    let json = opened.json();
                    ids.extend(found(reference, &json).iter().filter_map(|v| self.local(v, kind)).map(|n| n.id));
                };
                all(self, *from, std::slice::from_ref(&**inner), upto, MAX_CHAINED, keep).await?;
                Ok(Filter::Ids(ids.into_iter().collect()))
            }
            other => Ok(other.clone()),
        }
    }

    /// The resource of a type that a value points to.
    fn local(&self, value: &Value<'_>, kind: TypeName) -> Option<Name> {
        pointed_to(value, self.around.base).filter(|name| name.kind == kind)
    }

    async fn page_by_row(
        &self,
        permit: &Permit,
        plan: Plan,
        count: usize,
        wanted: Total,
        from: Option<Position>,
    ) -> Result<Page> {
        let after = from.map_or(0, |p| p.after);
        let (matches, rest) = self.take(permit, &plan, after, count).await?;
        let total = match (from, wanted) {
            // The cursor may be another's, who sees more.
            (Some(position), _) => position.total.filter(|_| permit.shows_all()),
            (None, Total::None) => None,
            (None, _) if rest.is_none() => Some(matches.len() as u64),
            (None, wanted) => self.total(permit, &plan, wanted).await?,
        };
        let next = rest.filter(|_| count > 0).map(|after| Position { upto: plan.scan.upto, after, total });
        Ok(Page { matches, included: Included::default(), total, next })
    }

    /// A page of what fits after a row, and after which row the next page goes on; nothing: there is none. Scanned documents
    /// or a long way without matches end a page early.
    async fn take(&self, permit: &Permit, plan: &Plan, after: i64, count: usize) -> Result<(Vec<Opened>, Option<i64>)> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let step = (count + 1).min(AT_ONCE);
        let rest = self.walk(permit, plan, after, step, |opened| {
            bytes += opened.resource.len();
            let room = taken.len() < count && (taken.is_empty() || bytes <= MAX_PAGE_BYTES);
            if room {
                taken.push(opened);
            }
            room
        });
        let rest = rest.await?;
        Ok((taken, rest))
    }

    /// Opens what the index proposes after a row, in its order, and shows what fits until the visitor takes no more or
    /// enough was opened for one request. Tells after which row to go on; nothing: that was all.
    async fn walk(
        &self,
        permit: &Permit,
        plan: &Plan,
        mut after: i64,
        step: usize,
        mut visit: impl FnMut(Opened) -> bool,
    ) -> Result<Option<i64>> {
        let mut opened = 0;
        loop {
            let rows = self.rows(plan, after, step).await?;
            for some in rows.chunks(FETCHES) {
                for one in self.open(permit, some).await? {
                    let row = one.stored.row;
                    if self.fits(plan, &one) && !visit(one) {
                        return Ok(Some(after));
                    }
                    after = row;
                }
                // Those that were held back, or erased since, are passed too.
                after = some.last().map_or(after, |last| last.row);
            }
            opened += rows.len();
            if rows.len() < step {
                return Ok(None);
            }
            if opened >= MAX_OPENED {
                return Ok(Some(after));
            }
        }
    }

    async fn rows(&self, plan: &Plan, after: i64, limit: usize) -> Result<Vec<Stored>> {
        let scan = Scan { after, ..plan.scan.clone() };
        self.store(move |store| store.scan(&scan, limit)).await
    }

    /// The exact test.
    fn fits(&self, plan: &Plan, opened: &Opened) -> bool {
        let json = opened.json();
        plan.filters.iter().all(|filter| holds(filter, &json, &self.around))
    }

    /// Opens rows, and holds back what the permit is not for.
    async fn open(&self, permit: &Permit, rows: &[Stored]) -> Result<Vec<Opened>> {
        self.core.fetch_ahead(rows).await;
        let mut opened = Vec::with_capacity(rows.len());
        for some in rows.chunks(FETCHES) {
            let fetches: Vec<_> = some.iter().map(|row| self.core.open_unless_erased(row)).collect();
            let found = try_join_all(fetches).await?.into_iter().flatten().collect();
            opened.extend(let_through(self.core, permit, found).await?);
        }
        Ok(opened)
    }

    /// How many fit in all. What the index cannot tell exactly is opened, up to a limit unless an accurate total was asked.
    async fn total(&self, permit: &Permit, plan: &Plan, wanted: Total) -> Result<Option<u64>> {
        let accurate = wanted == Total::Accurate;
        if plan.exact {
            let (scan, cap) = (plan.scan.clone(), if accurate { usize::MAX } else { MAX_CHEAP_TOTAL });
            let count = self.store(move |store| store.count(&scan, cap)).await?;
            return Ok((count < cap).then_some(count as u64));
        }
        let (mut count, most) = (0, if accurate { usize::MAX } else { MAX_OPENED_FOR_TOTAL });
        let rest = self.walk(permit, plan, 0, AT_ONCE, |_| {
            count += 1;
            count < most
        });
        match rest.await? {
            None => Ok(Some(count as u64)),
            Some(_) if accurate => Err(TOO_WIDE),
            Some(_) => Ok(None),
        }
    }
}

/// The resource of this server that a value points to.
fn pointed_to(value: &Value<'_>, base: &str) -> Option<Name> {
    match value {
        Value::Reference { literal: Some(literal), .. } => Name::parse(normal(literal, base)),
        Value::Uri(uri) => Name::parse(normal(uri, base)),
        _ => None,
    }
}
