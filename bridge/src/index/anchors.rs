//! What of the log is anchored, and the anchor that is on its way.

use super::lease;
use super::sql::{Row, values};
use super::store::{Store, StoreError, set};

/// The setting that holds the anchor on its way.
const PENDING: &str = "chain.pending";

/// An anchor that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The log's size.
    pub size: u64,
    pub block: u64,
    /// The block's hash, hexadecimal.
    pub hash: String,
    /// Seconds since 1970, as the block says.
    pub time: u64,
    pub gas: Option<u64>,
    /// In wei.
    pub fee: Option<u128>,
    /// The proof, JSON.
    pub bundle: Option<String>,
}

impl Store {
    /// Keeps an anchor, and how far the chain has come. Those before it keep their place; their proof this one's takes the place
    /// of.
    pub fn keep_anchor(&self, anchor: &Anchor) -> Result<(), StoreError> {
        const ADD: &str = "INSERT INTO anchor (size, block, hash, time, gas, bundle, fee) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                           ON CONFLICT (size) DO UPDATE SET block = ?2, hash = ?3, time = ?4, gas = ?5, bundle = ?6, fee = ?7";
        const OLD: &str = "UPDATE anchor SET bundle = '' WHERE size <> ?1 AND bundle <> ''";
        let gas = anchor.gas.map(|gas| gas as i64);
        let fee = anchor.fee.map_or_else(String::new, |fee| fee.to_string());
        let (size, block, time) = (anchor.size as i64, anchor.block as i64, anchor.time as i64);
        self.transaction(|c| {
            c.execute(
                ADD,
                values![size, block, &anchor.hash, time, gas, anchor.bundle.as_deref().unwrap_or_default(), &fee],
            )?;
            c.execute(OLD, values![size]).map(|_| ())
        })?;
        self.remember_anchored(anchor.size)
    }

    /// The newest anchors, at most `limit`, from below a size on.
    pub fn anchors(&self, below: Option<u64>, limit: usize) -> Result<Vec<Anchor>, StoreError> {
        const SQL: &str =
            "SELECT size, block, hash, time, gas, bundle, fee FROM anchor WHERE size < ?1 ORDER BY size DESC LIMIT ?2";
        let below = below.map_or(i64::MAX, |below| below as i64);
        self.read(|c| c.rows(SQL, values![below, limit as i64], anchor))
    }

    /// The anchor that receipts carry the proof of.
    pub fn proved_anchor(&self) -> Result<Option<Anchor>, StoreError> {
        const SQL: &str = "SELECT size, block, hash, time, gas, bundle, fee FROM anchor WHERE bundle <> '' ORDER BY size DESC LIMIT 1";
        self.read(|c| c.first(SQL, &[], anchor))
    }

    /// The anchor that is on its way, as it was kept.
    pub fn pending_anchor(&self) -> Result<Option<String>, StoreError> {
        Ok(self.setting(PENDING)?.filter(|pending| !pending.is_empty()))
    }

    /// Keeps or forgets it, if the lease is still the one of this epoch.
    pub fn keep_pending_anchor(&self, epoch: i64, pending: Option<&str>) -> Result<(), StoreError> {
        self.transaction(|c| {
            lease::check(c, epoch)?;
            set(c, PENDING, pending.unwrap_or_default())
        })
    }
}

fn anchor(r: &Row<'_>) -> Result<Anchor, StoreError> {
    let (size, block, hash, time) = (r.size(0)?, r.size(1)?, r.string(2)?, r.size(3)?);
    let gas = r.maybe_int(4)?.map(|gas| gas as u64);
    let (bundle, fee) = (Some(r.string(5)?).filter(|bundle| !bundle.is_empty()), r.string(6)?.parse().ok());
    Ok(Anchor { size, block, hash, time, gas, fee, bundle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    #[test]
    fn anchors_are_kept_and_only_the_newest_has_its_proof() {
        for (_keep, store) in stores() {
            let anchor = |size: u64| Anchor {
                size,
                block: size + 1,
                hash: format!("0x{size}"),
                time: 1_700_000_000,
                gas: (size == 7).then_some(80_000),
                fee: (size == 7).then_some(u128::from(u64::MAX) * 80_000),
                bundle: Some("{}".to_owned()),
            };
            for size in [3, 7, 7, 12] {
                store.keep_anchor(&anchor(size)).unwrap();
            }
            let kept = store.anchors(None, 10).unwrap();
            assert_eq!(
                kept.iter().map(|a| (a.size, a.bundle.is_some())).collect::<Vec<_>>(),
                [(12, true), (7, false), (3, false)]
            );
            assert_eq!((kept[1].gas, kept[1].block), (Some(80_000), 8));
            assert_eq!((kept[0].fee, kept[1].fee), (None, Some(u128::from(u64::MAX) * 80_000)));
            assert_eq!(store.anchors(Some(12), 1).unwrap()[0].size, 7);
            assert_eq!(store.anchored().unwrap(), 12);
            assert_eq!(store.proved_anchor().unwrap().unwrap().size, 12);
            store.keep_anchor(&anchor(5)).unwrap();
            assert_eq!(store.anchored().unwrap(), 12, "what was seen stays seen");
            assert_eq!(store.proved_anchor().unwrap().unwrap().size, 5, "another chain has its own proof");

            let epoch = store.hold("a", std::time::Duration::from_secs(60)).unwrap().unwrap();
            assert_eq!(store.pending_anchor().unwrap(), None);
            store.keep_pending_anchor(epoch, Some("{1}")).unwrap();
            assert_eq!(store.pending_anchor().unwrap().as_deref(), Some("{1}"));
            store.keep_pending_anchor(epoch, None).unwrap();
            assert_eq!(store.pending_anchor().unwrap(), None);
            if store.is_shared() {
                let late = store.keep_pending_anchor(epoch - 1, Some("{2}"));
                assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
            }
        }
    }
}
