//! Room in memory for what comes from outside: so many bytes in all, and so many for one sender, so that one cannot take it all.
//! Room is taken as bytes come, and whoever waits for it stands in nobody's way who needs less.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The room that there is.
#[derive(Debug)]
pub struct Rooms {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<String, usize>,
}

/// What one has of it; dropped, it is free again.
#[derive(Debug)]
pub struct Room {
    rooms: Arc<Rooms>,
    by: String,
    bytes: usize,
}

impl Rooms {
    /// So many bytes in all, and so many for one.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default(), freed: Notify::new() })
    }

    /// Room for somebody, none yet.
    pub fn room(self: &Arc<Self>, by: &str) -> Room {
        Room { rooms: self.clone(), by: by.to_owned(), bytes: 0 }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, by: &str, more: usize) -> bool {
        let mut taken = self.taken();
        let own = taken.by.get(by).copied().unwrap_or(0);
        if taken.all + more > self.all || own + more > self.each {
            return false;
        }
        taken.all += more;
        taken.by.insert(by.to_owned(), own + more);
        true
    }

    fn free(&self, by: &str, less: usize) {
        let mut taken = self.taken();
        taken.all = taken.all.saturating_sub(less);
        match taken.by.get_mut(by) {
            Some(own) if *own > less => *own -= less,
            _ => _ = taken.by.remove(by),
        }
        drop(taken);
        self.freed.notify_waiters();
    }
}

impl Room {
    /// Makes it so large, waiting for that at most so long. Tells whether it is.
    pub async fn grow(&mut self, to: usize, patience: Duration) -> bool {
        let more = to.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let rooms = self.rooms.clone();
        let taking = async {
            loop {
                // Listened for before it is looked: nothing that is freed in between is missed.
                let freed = rooms.freed.notified();
                let mut freed = std::pin::pin!(freed);
                freed.as_mut().enable();
                if rooms.add(&self.by, more) {
                    return;
                }
                freed.await;
            }
        };
        let grown = tokio::time::timeout(patience, taking).await.is_ok();
        if grown {
            self.bytes = to;
        }
        grown
    }

    /// Gives back what is more than this.
    pub fn shrink(&mut self, to: usize) {
        let less = self.bytes.saturating_sub(to);
        if less > 0 {
            self.bytes -= less;
            self.rooms.free(&self.by, less);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn one_does_not_take_it_all_and_what_is_given_back_is_there_for_others() {
        let rooms = Rooms::new(10, 6);
        let (mut one, mut same, mut other) = (rooms.room("a"), rooms.room("a"), rooms.room("b"));
        assert!(one.grow(4, NOW).await && same.grow(2, NOW).await);
        assert!(!same.grow(3, NOW).await, "its share is taken");
        assert!(other.grow(4, NOW).await && !other.grow(5, NOW).await, "all is taken");
        one.shrink(3);
        assert!(other.grow(5, NOW).await && one.grow(1, NOW).await);
        drop((one, same, other));
        assert!(rooms.taken().by.is_empty() && rooms.taken().all == 0);
    }

    #[tokio::test]
    async fn who_needs_much_waits_and_holds_up_nobody_who_needs_little() {
        let rooms = Rooms::new(10, 10);
        let mut first = rooms.room("a");
        assert!(first.grow(8, NOW).await);
        let mut large = rooms.room("b");
        let waiting = tokio::spawn(async move { (large.grow(9, Duration::from_secs(60)).await, large) });
        tokio::task::yield_now().await;
        let mut small = rooms.room("c");
        assert!(small.grow(1, NOW).await, "it is not behind the one that waits");
        drop(first);
        let (grown, large) = waiting.await.unwrap();
        assert!(grown && !rooms.room("d").grow(1, NOW).await);
        drop(large);
    }
}
