//! When a group is committed, and how a pack is named after a moment.

use crate::app::Core;
use crate::secret::system_random;
use crate::upkeep::recover::packs::FOLDER;

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
        let last = if last.time == 0 { Self::newest(core) } else { last };
        match last.nth.checked_add(1) {
            _ if now > last.time => Self { time: now, nth: 0 },
            Some(nth) => Self { nth, ..last },
            None => Self { time: last.time + 1, nth: 0 },
        }
    }

    /// The next millisecond at least.
    pub(super) fn beyond(last: Self, core: &Core) -> Self {
        let last = if last.time == 0 { Self::newest(core) } else { last };
        Self { time: core.clock.now().as_millisecond().max(last.time + 1), nth: 0 }
    }

    /// The same moment, as long as it has lasted.
    pub(super) fn until(self, time: i64) -> Self {
        Self { time: time.max(self.time), ..self }
    }

    /// That of the newest row, or of the name of its pack, if that is later.
    fn newest(core: &Core) -> Self {
        let named = core.store.newest_pack().ok().flatten().and_then(|name| time_of(&name));
        Self { time: core.store.newest_time().unwrap_or(0).max(named.unwrap_or(0)), nth: u16::MAX }
    }

    /// Unique by time and chance.
    pub(super) fn pack(self) -> String {
        format!("{FOLDER}{:013x}-{:04x}{}", self.time, self.nth, hex::encode(by_chance::<6>()))
    }
}

/// The time that a pack is named after.
fn time_of(pack: &str) -> Option<i64> {
    let (time, _) = pack.strip_prefix(FOLDER)?.split_once('-')?;
    i64::from_str_radix(time, 16).ok()
}

/// Of a group. Without chance its write fails later, with a reason.
pub(super) fn by_chance<const N: usize>() -> [u8; N] {
    let mut chance = [0; N];
    _ = system_random(&mut chance);
    chance
}
