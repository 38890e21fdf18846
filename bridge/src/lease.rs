//! Who does the background work: with several replicas, the holder of the lease. It is asked for again and again; a replica
//! that cannot ask stops to work when its lease has ended, and what it was about to write then is refused by the index.

use crate::app::Core;
use crate::read::in_background;
use crate::secret::{NoRandomness, bytes, system_random};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a lease lasts: a replica that is gone is missed for so long. Twice that long may the index be away without the
/// work being taken over in vain.
const LIFE: Duration = Duration::from_secs(10);
/// How often it is asked for, and how often it is looked for what other replicas committed.
const ASK: Duration = Duration::from_millis(2_500);
const LOOK: Duration = Duration::from_millis(250);
/// No epoch.
const NONE: i64 = -1;

/// The lease as this replica knows it.
#[derive(Debug)]
pub struct Lease {
    /// Named by chance: two replicas, or one before and after a restart, are never the same.
    holder: String,
    epoch: AtomicI64,
    until: Mutex<Instant>,
    /// SQLite has one process.
    alone: bool,
}

impl Lease {
    /// A lease that is not held yet.
    pub fn new(alone: bool) -> Result<Self, NoRandomness> {
        let holder = hex::encode(bytes::<16>(&system_random)?);
        Ok(Self { holder, epoch: AtomicI64::new(NONE), until: Mutex::new(Instant::now()), alone })
    }

    /// This process, as the index knows it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// The epoch, while this replica may work.
    pub fn held(&self) -> Option<i64> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let live = self.until() > Instant::now();
        if self.alone { Some(0) } else { Some(epoch).filter(|epoch| live && *epoch != NONE) }
    }

    /// Waits until this replica may work.
    pub async fn wait(&self) -> i64 {
        loop {
            match self.held() {
                Some(epoch) => return epoch,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Does what no longer may be done once another replica may: it is given up in the middle, and is nothing then, when the lease of
    /// this epoch ends.
    pub async fn during<T>(&self, epoch: i64, work: impl Future<Output = T>) -> Option<T> {
        if self.alone {
            return Some(work.await);
        }
        let mut work = std::pin::pin!(work);
        while self.held() == Some(epoch) {
            // It is held on to meanwhile.
            if let Ok(done) = tokio::time::timeout_at(self.until().into(), work.as_mut()).await {
                return Some(done);
            }
        }
        None
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, epoch: Option<i64>, asked: Instant) {
        if epoch.is_some() {
            // Counted from before it was asked: never longer than the index counts.
            *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + LIFE;
        }
        self.epoch.store(epoch.unwrap_or(NONE), Ordering::Release);
    }
}

/// Asks for the lease once.
pub async fn ask(core: &Arc<Core>) {
    let (asked, own) = (Instant::now(), core.clone());
    match in_background(move || own.store.hold(&own.lease.holder, LIFE)).await {
        Ok(epoch) => {
            let before = core.lease.held();
            core.lease.took(epoch, asked);
            match (before, epoch) {
                (None, Some(epoch)) => tracing::info!(epoch, "this replica does the background work"),
                (Some(_), None) => tracing::warn!("another replica has taken over the background work"),
                _ => {}
            }
        }
        Err(error) => tracing::warn!(%error, "the lease of the background work cannot be asked for"),
    }
}

/// Asks for the lease for ever, and rings the workers for what other replicas brought. Nothing to do where one process is alone.
pub async fn run(core: Arc<Core>) {
    let mut asked = Instant::now();
    let mut known = None;
    if core.lease.alone {
        return;
    }
    loop {
        if asked.elapsed() >= ASK {
            asked = Instant::now();
            ask(&core).await;
        }
        if core.lease.held().is_some() {
            let store = core.store.clone();
            let news = in_background(move || store.news()).await.ok();
            if news.is_some() && news != known {
                core.wake_sequencer.notify_one();
                core.notices.committed.notify_one();
                core.exports.wake.notify_one();
                known = news;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets the lease go at the end.
pub async fn end(core: &Arc<Core>) {
    let own = core.clone();
    if let Err(error) = in_background(move || own.store.let_go(&own.lease.holder)).await {
        tracing::warn!(%error, "the lease was not let go: the others wait for its end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(epoch: i64, left: Duration) -> Lease {
        let lease = Lease::new(false).unwrap();
        lease.took(Some(epoch), Instant::now() + left - LIFE);
        lease
    }

    #[tokio::test]
    async fn what_is_under_way_is_given_up_when_the_lease_ends() {
        let never = std::future::pending::<()>;
        assert_eq!(lease(3, LIFE).during(3, async { 7 }).await, Some(7));
        assert_eq!(lease(3, Duration::from_millis(20)).during(3, never()).await, None, "it ended");
        assert_eq!(lease(4, LIFE).during(3, async { 7 }).await, None, "it ended, and was taken again");
        assert_eq!(Lease::new(false).unwrap().during(3, async { 7 }).await, None, "it never was held");
        assert_eq!(Lease::new(true).unwrap().during(0, async { 7 }).await, Some(7), "one process");
    }

    #[tokio::test]
    async fn what_takes_longer_than_was_left_is_done_if_the_lease_is_held_on_to() {
        const LEFT: Duration = Duration::from_millis(100);
        // A machine under load may be away for as long as was left.
        for _ in 0..100 {
            let lease = lease(3, LEFT);
            let longer = async {
                lease.took(Some(3), Instant::now());
                tokio::time::sleep(LEFT * 2).await;
            };
            if lease.during(3, longer).await.is_some() {
                return;
            }
        }
        panic!("it is given up though the lease is held");
    }
}
