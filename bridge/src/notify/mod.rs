//! Subscriptions: what was committed is followed row by row (`follow`), each event goes into a durable queue, and a deliverer
//! sends it for as long as it takes (`deliver`). Nothing here holds up a write: it begins after the commit. What is not known
//! to have arrived is sent again; the events of one subscription keep their order.

pub mod deliver;
mod follow;
pub mod message;

use crate::app::{App, Core};
use crate::consent::decide::Asker;
use crate::error::{Fault, Issue, VaultError};
use crate::fhir::subscription::Wanted;
use crate::index::notices::Subscribed;
use crate::index::store::Stored;
use crate::limits::MAX_SUBSCRIPTIONS;
use crate::read::{Opened, in_background};
use crate::secret::system_random;
use crate::smart::token::{Caller, Kept};
use crate::vault::seal::{open_bytes, seal_bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use notary::canonical::Json;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::sync::{Mutex, Notify};

/// What the makers of subscriptions are sealed for.
const PURPOSE: &[u8] = b"medseal/v1/subscription";

/// What the workers are rung by, and what who writes Subscriptions share.
#[derive(Debug)]
pub struct Notices {
    /// Something was committed.
    pub committed: Notify,
    /// Something is to be sent.
    pub queued: Notify,
    /// Held from the look for room until the commit that takes it.
    pub room: Arc<Mutex<()>>,
    /// How many may be on.
    pub most: AtomicUsize,
}

impl Default for Notices {
    fn default() -> Self {
        let (committed, queued) = (Notify::new(), Notify::new());
        Self { committed, queued, room: Arc::default(), most: AtomicUsize::new(MAX_SUBSCRIPTIONS) }
    }
}

/// Follows and delivers for ever.
pub async fn run(app: Arc<App>) {
    let following = follow::run(app.core.clone());
    let delivering = deliver::run(app);
    futures_util::future::join(following, delivering).await;
}

/// The maker as it is kept in the resource.
pub fn seal_maker(core: &Core, caller: &Caller) -> Result<String, VaultError> {
    let plain = serde_json::to_vec(&Kept::of(caller)).unwrap_or_default();
    let sealed =
        seal_bytes(&core.cursor_key, PURPOSE, &plain, &system_random).map_err(|_| crate::secret::NoRandomness)?;
    Ok(STANDARD_NO_PAD.encode(sealed))
}

/// The maker of a Subscription; none: this server did not write it down, and nothing is sent.
fn maker(core: &Core, wanted: &Wanted) -> Option<Caller> {
    let sealed = STANDARD_NO_PAD.decode(wanted.maker.as_ref()?).ok()?;
    let plain = open_bytes(&core.cursor_key, PURPOSE, &sealed).ok()?;
    serde_json::from_slice::<Kept>(&plain).ok()?.caller()
}

/// Whether a Subscription was made by who asks: its headers may hold somebody's secrets, its counter tells what happens.
pub(crate) fn made_by(core: &Core, subscription: &Json, asker: &Asker) -> bool {
    let maker = wanted(core, subscription).ok().and_then(|wanted| maker(core, &wanted));
    maker.is_some_and(|maker| asker.is_caller(&maker))
}

/// A subscription that notifies.
pub struct Live {
    pub wanted: Wanted,
    pub maker: Caller,
    /// As it is stored, and which version.
    pub opened: Opened,
    pub kept: Subscribed,
}

crate::redacted_debug!(Live);

/// Opens a version; nothing, and a line in the log, where it is damaged: one record must not stop what comes after it. What may
/// well succeed later is an error.
pub(crate) async fn open_or_leave(core: &Core, stored: &Stored) -> Result<Option<Opened>, VaultError> {
    match core.open(stored).await {
        Ok(opened) => Ok(Some(opened)),
        Err(VaultError::Erased) => Ok(None),
        Err(error) if error.fault() == Fault::Us => {
            tracing::error!(%error, row = stored.row, "a damaged record is left out of subscriptions and rules");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads a Subscription as it is stored.
fn wanted(core: &Core, resource: &Json) -> Result<Wanted, Issue> {
    Wanted::read(resource, &core.around())
}

/// A subscription with its resource; none: it is not there any more, or cannot be understood.
pub async fn live(core: &Core, kept: Subscribed) -> Result<Option<Live>, VaultError> {
    let (store, row) = (core.store.clone(), kept.row);
    let Some(stored) = in_background(move || store.row(row)).await? else { return Ok(None) };
    let Some(opened) = core.open_unless_erased(&stored).await? else { return Ok(None) };
    let wanted = wanted(core, &opened.json()).ok();
    let with_maker = wanted.and_then(|wanted| maker(core, &wanted).map(|maker| (wanted, maker)));
    Ok(with_maker.map(|(wanted, maker)| Live { wanted, maker, opened, kept }))
}
