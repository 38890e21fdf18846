//! The names of packs, made ahead: a file that has its name already waits for one sync, where a new one waits for its folder's, too.
//! Names are in the order of the commits, so that the packs that an index lacks after a power cut are put in again in that order.

use super::moment::Moment;
use crate::app::Core;
use crate::limits::PACKS_AHEAD;
use crate::upkeep::key_objects::of_pack;
use crate::vault::objects::Objects;
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// The names that wait for a pack, and those that are being made.
#[derive(Default)]
pub(super) struct Names {
    last: Moment,
    ready: VecDeque<String>,
    coming: Option<JoinHandle<Vec<String>>>,
}

impl Names {
    /// The name of the next pack, of a group of that moment. Where a new name costs nothing, or others write the index, too, it is the moment's.
    pub(super) async fn next(&mut self, core: &Core, of: Moment) -> String {
        if !is_ahead(core) {
            return of.pack();
        }
        self.arrive().await;
        // Where none could be made ahead, the write will tell why.
        let name = self.ready.pop_front().unwrap_or_else(|| self.make(core));
        self.send_for_more(core);
        name
    }

    /// Sees to it that there are names, before they are needed.
    pub(super) fn send_for_more(&mut self, core: &Core) {
        if !is_ahead(core) || self.coming.is_some() || self.ready.len() >= PACKS_AHEAD / 2 {
            return;
        }
        let packs = (0..PACKS_AHEAD).map(|_| self.make(core)).collect();
        self.coming = Some(tokio::spawn(prepared(core.objects.clone(), packs)));
    }

    /// Takes in what is made by now. Where nothing else is left it is waited for: to make one more alone would take as long.
    async fn arrive(&mut self) {
        let arrives = |coming: &JoinHandle<_>| self.ready.is_empty() || coming.is_finished();
        if let Some(coming) = self.coming.take_if(|coming| arrives(coming)) {
            self.ready.extend(coming.await.unwrap_or_default());
        }
    }

    /// Each of a millisecond of its own: packs of one are taken for what nobody knows the order of.
    fn make(&mut self, core: &Core) -> String {
        self.last = Moment::beyond(self.last, core);
        self.last.pack()
    }

    /// Gives up the names that are left: nobody needs them, or somebody's pack has come before.
    pub(super) async fn give_up(&mut self, core: &Core) {
        let coming = self.coming.take();
        let mut left = std::mem::take(self).ready;
        if let Some(coming) = coming {
            left.extend(coming.await.unwrap_or_default());
        }
        for pack in left {
            core.objects.give_up(&pack).await;
            core.objects.give_up(&of_pack(&pack)).await;
        }
    }
}

fn is_ahead(core: &Core) -> bool {
    core.objects.prepares() && !core.store.is_shared()
}

async fn prepared(objects: Objects, packs: Vec<String>) -> Vec<String> {
    let names = packs.iter().flat_map(|pack| [pack.clone(), of_pack(pack)]).collect();
    match objects.prepare(names).await {
        Ok(()) => packs,
        Err(error) => {
            tracing::debug!(%error, "no names of packs could be made ahead");
            Vec::new()
        }
    }
}
