//! When a group is committed, and what its pack is called: names are in the order of the commits, so that the packs that an index
//! lacks after a power cut are put in again in that order.

use crate::app::Core;
use crate::secret::system_random;

/// The time of a group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    /// Milliseconds since 1970.
    pub(super) time: i64,
    /// Groups of one millisecond are counted.
    nth: u16,
}

impl Moment {
    /// After the last one, whatever the clock says: it may be set back, and versions and histories go forward. `last` is that of
    /// this process; what is newest in an index that others write, too, the index tells. One that does not answer fails later.
    pub(super) fn after(last: Self, core: &Core) -> Self {
        let now = core.clock.now().as_millisecond();
        if core.store.is_shared() {
            return Self { time: now.max(last.time).max(core.store.newest_time().unwrap_or(0)), nth: 0 };
        }
        let last = match last.time {
            0 => Self { time: core.store.newest_time().unwrap_or(0), nth: u16::MAX },
            _ => last,
        };
        match last.nth.checked_add(1) {
            _ if now > last.time => Self { time: now, nth: 0 },
            Some(nth) => Self { nth, ..last },
            None => Self { time: last.time + 1, nth: 0 },
        }
    }

    /// Unique by time and chance.
    pub(super) fn pack(self) -> String {
        format!("packs/{:013x}-{:04x}{}", self.time, self.nth, hex::encode(by_chance::<6>()))
    }
}

/// Of a group. Without chance its write fails later, with a reason.
pub(super) fn by_chance<const N: usize>() -> [u8; N] {
    let mut chance = [0; N];
    _ = system_random(&mut chance);
    chance
}
