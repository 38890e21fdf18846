//! What lies beside the packs and is not ours, or is said there and not known to the index.

use super::{Check, MAX_TOLD};
use crate::anchor::publish::{self, WIDTH};
use crate::error::VaultError;
use crate::ids::{Owner, ResourceId};
use crate::upkeep::key_objects::Walk;
use crate::upkeep::{erase, key_objects, recover::packs};
use crate::vault::objects::PROBES;
use crate::vault::roots::RootId;

/// All folders that a service makes.
const FOLDERS: &[&str] =
    &[packs::FOLDER, key_objects::FOLDER, LOG, erase::FOLDER, "roots/", "evidence/", "aside/", PROBES];
const LOG: &str = "log/";

/// Whether a service makes an object of this name.
fn is_ours(name: &str) -> bool {
    let Some((folder, rest)) = name.split_once('/') else { return false };
    let is_hex =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let timed =
        || rest.split_once('-').is_some_and(|(time, chance)| time.len() == 13 && is_hex(time) && is_hex(chance));
    match folder {
        "packs" | "aside" => timed(),
        "keys" => {
            timed() || rest.strip_prefix("system.").is_some_and(|key| key.bytes().all(|b| b.is_ascii_lowercase()))
        }
        "log" => rest == "checkpoint" || is_part(name, rest),
        "erasures" => ResourceId::parse(rest).is_some(),
        "roots" => RootId::parse(rest).is_some(),
        "evidence" | "probe" => is_hex(rest),
        _ => false,
    }
}

/// An object of log entries, spelt as the publisher spells it.
fn is_part(name: &str, rest: &str) -> bool {
    let (index, width) = rest.split_once(".p").map_or((rest, Some(WIDTH)), |(i, width)| (i, width.parse().ok()));
    let spelt = index.parse().ok().zip(width.filter(|width| (1..=WIDTH).contains(width)));
    spelt.is_some_and(|(index, width)| publish::name(index, width) == name)
}

impl Check<'_> {
    /// Objects that nothing here has made. They are nobody's fault here, and nobody here removes them.
    pub(super) async fn strangers(&mut self) -> Result<(), VaultError> {
        let beside = self.keep.objects.strangers(FOLDERS, MAX_TOLD).await?;
        let unfinished = |name: &str| name.ends_with(".new");
        for name in beside {
            match unfinished(&name) {
                true => self.note(name, "a write that a crash cut short: it can be removed with the service stopped"),
                false => self.note(name, "it is no object of this service"),
            }
        }
        for folder in FOLDERS {
            let mut walk = Walk::new(&self.keep.objects, folder);
            while let Some(found) = walk.next().await? {
                if !is_ours(&found.name) {
                    self.note(found.name, "it is no object of this service");
                }
            }
        }
        Ok(())
    }

    /// Erasures that are noted beside the packs, and that the index does not know: it was put back from before.
    pub(super) async fn erasures(&mut self) -> Result<(), VaultError> {
        let mut walk = Walk::new(&self.keep.objects, erase::FOLDER);
        while let Some(found) = walk.next().await? {
            let id = found.name.strip_prefix(erase::FOLDER).and_then(ResourceId::parse);
            let Some(owner) = id.map(|id| Owner::patient(&id)) else { continue };
            if self.keep.store.erasure(&owner)?.is_none() {
                let what = format!("it says that {} was erased, and the index does not know it", owner.as_str());
                self.differs(found.name, what);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_makes_is_known_by_its_name() {
        for ours in [
            "packs/0000000000010-00aa",
            "keys/0000000000010-00aa",
            "keys/system.log",
            "log/checkpoint",
            "log/0000000003",
            "log/0000000003.p17",
            "erasures/a-1",
            "roots/0011223344556677",
            "aside/0000000000010-00aa",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "packs/x",
            "packs/0000000000010-",
            "packs/0000000000010-zz",
            "keys/0000000000010",
            "keys/system.Log",
            "log/3",
            "log/0000000003.p256",
            "log/0000000003.p0",
            "log/../x",
            "roots/00",
            "readme",
            "others/x",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
        }
        assert!(FOLDERS.iter().all(|folder| folder.ends_with('/')));
    }
}
