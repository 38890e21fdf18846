//! Walks the committed rows once, in their order, and writes down whose event each is. How far it came is kept with what it
//! found, so that a crash loses no event and makes none twice.

use super::{maker, open_or_leave, wanted};
use crate::app::Core;
use crate::consent::decide::decide;
use crate::error::VaultError;
use crate::fhir::subscription::{Status, Wanted};
use crate::ids::{ResourceId, TypeName, Version};
use crate::index::notices::{Change, Followed, Waiting};
use crate::index::store::Stored;
use crate::limits::{FOLLOW_RETRY, FOLLOWED_AT_ONCE};
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for rows that nobody rang for.
const LOOK: Duration = Duration::from_secs(5);
/// How far the walk may come without an event before that is written down: looking at rows again harms nobody.
const UNWRITTEN: i64 = 10_000;

/// The subscriptions that count, and how far the rows were followed.
struct Follower {
    wanted: HashMap<ResourceId, Wanted>,
    at: i64,
    written: i64,
    /// Of the lease that it follows under.
    epoch: i64,
}

/// Follows for ever.
pub(super) async fn run(core: Arc<Core>) {
    let mut follower = begin(&core).await;
    loop {
        if core.lease.held() != Some(follower.epoch) {
            follower = begin(&core).await;
        }
        match follower.step(&core).await {
            Ok(true) => continue,
            Ok(false) => _ = tokio::time::timeout(LOOK, core.notices.committed.notified()).await,
            Err(error) => {
                tracing::error!(%error, "the follower of subscriptions does not go on; it will try again");
                tokio::time::sleep(FOLLOW_RETRY).await;
                follower = begin(&core).await;
            }
        }
    }
}

async fn begin(core: &Core) -> Follower {
    loop {
        let epoch = core.lease.wait().await;
        match load(core, epoch).await {
            Ok(follower) => return follower,
            Err(error) => {
                tracing::error!(%error, "the subscriptions cannot be read; it will be tried again");
                tokio::time::sleep(FOLLOW_RETRY).await;
            }
        }
    }
}

async fn load(core: &Core, epoch: i64) -> Result<Follower, VaultError> {
    let store = core.store.clone();
    let (at, rows) = in_background(move || {
        let kept = store.subscriptions()?;
        let rows = kept.iter().filter_map(|one| store.row(one.row).transpose()).collect::<Result<Vec<_>, _>>()?;
        Ok((store.followed()?, rows))
    })
    .await?;
    let mut follower = Follower { wanted: HashMap::new(), at, written: at, epoch };
    for row in rows {
        let Some(opened) = open_or_leave(core, &row).await? else { continue };
        follower.wanted.extend(listening(core, &opened.json()).map(|wanted| (row.name.id, wanted)));
    }
    Ok(follower)
}

/// A Subscription that is not off, and whose maker is known.
fn listening(core: &Core, resource: &Json) -> Option<Wanted> {
    let wanted = wanted(core, resource).ok()?;
    (wanted.status != Status::Off && maker(core, &wanted).is_some()).then_some(wanted)
}

impl Follower {
    /// Follows the next rows. Tells whether there may be more.
    async fn step(&mut self, core: &Core) -> Result<bool, VaultError> {
        let (kinds, after, store) = (self.kinds(), self.at, core.store.clone());
        let (rows, mut upto) = in_background(move || store.rows_after(&kinds, after, FOLLOWED_AT_ONCE)).await?;
        let mut followed = Followed { epoch: self.epoch, ..Followed::default() };
        for row in rows {
            if row.name.kind.as_str() == "Subscription" {
                self.change(core, &row, &mut followed).await?;
                // The rows after this one may be of types that count only now: they are looked for anew.
                upto = row.row;
                break;
            } else {
                self.events(core, &row, &mut followed).await?;
            }
        }
        let moved = upto > self.at;
        self.at = upto;
        followed.upto = upto;
        self.write(core, followed).await?;
        Ok(moved)
    }

    /// The types that count.
    fn kinds(&self) -> Vec<TypeName> {
        let mut kinds: Vec<TypeName> = self.wanted.values().map(|wanted| wanted.kind).collect();
        kinds.extend(TypeName::parse("Subscription"));
        kinds.sort();
        kinds.dedup();
        kinds
    }

    async fn write(&mut self, core: &Core, followed: Followed) -> Result<(), VaultError> {
        let news = !followed.changes.is_empty() || !followed.events.is_empty();
        if !news && followed.upto - self.written < UNWRITTEN {
            return Ok(());
        }
        self.written = followed.upto;
        let (store, now) = (core.store.clone(), core.clock.now().as_millisecond());
        // A crash before this commit leaves the rows to be followed again; after it they are queued.
        in_background(move || store.follow(&followed, now)).await?;
        core.notices.queued.notify_one();
        Ok(())
    }

    async fn change(&mut self, core: &Core, row: &Stored, followed: &mut Followed) -> Result<(), VaultError> {
        let id = row.name.id.clone();
        // One that cannot be read ends: what it was before may be what a client turned off.
        let opened = if row.deleted { None } else { open_or_leave(core, row).await? };
        let wanted = opened.and_then(|opened| listening(core, &opened.json()));
        let change = match &wanted {
            None => Change::Ended(id.clone()),
            Some(wanted) if wanted.status == Status::Requested => {
                let same = self.wanted.get(&id).is_some_and(|before| before.asks_the_same(wanted));
                let waiting = if same { Waiting::Kept } else { Waiting::Dropped };
                Change::Begun { id: id.clone(), row: row.row, waiting }
            }
            Some(_) => Change::Noted(id.clone(), row.row),
        };
        followed.changes.push(change);
        match wanted {
            Some(wanted) => self.wanted.insert(id, wanted),
            None => self.wanted.remove(&id),
        };
        Ok(())
    }

    async fn events(&self, core: &Core, row: &Stored, followed: &mut Followed) -> Result<(), VaultError> {
        let own: Vec<_> = self.wanted.iter().filter(|(_, wanted)| wanted.kind == row.name.kind).collect();
        // A deletion is no event for anybody.
        let opened = if row.deleted { None } else { open_or_leave(core, row).await? };
        let Some(now) = opened.map(|opened| opened.json()) else { return Ok(()) };
        let before = if own.iter().any(|(_, wanted)| wanted.compares()) { before(core, row).await? } else { None };
        let around = core.around();
        for (id, wanted) in own {
            // What its maker may not read is no event for it.
            let permit = maker(core, wanted).and_then(|m| decide(&m, Interaction::Search, Some(wanted.kind)).ok());
            let permit = permit.filter(|permit| permit.covers(&row.name, &now, &around));
            let Some(permit) = permit.filter(|_| wanted.takes(&now, before.as_ref(), &around)) else { continue };
            // Nor what its patient lets him not see: the count of events would tell of it.
            if core.consents_to(&permit, &row.name, &now).await? {
                followed.events.push((id.clone(), row.row));
            }
        }
        Ok(())
    }
}

/// The version before, where there is one with content that can be read: an event is told rather than lost.
async fn before(core: &Core, row: &Stored) -> Result<Option<Json>, VaultError> {
    if row.version == Version(1) {
        return Ok(None);
    }
    let (store, name, version) = (core.store.clone(), row.name.clone(), Version(row.version.0 - 1));
    match in_background(move || store.version(&name, version)).await? {
        Some(stored) if !stored.deleted => Ok(open_or_leave(core, &stored).await?.map(|opened| opened.json())),
        _ => Ok(None),
    }
}
