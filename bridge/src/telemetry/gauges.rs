//! What is looked up when somebody asks: how long queues are, how far the log has come. What costs a look into the index is looked
//! up at most once a second, whoever asks.

use crate::anchor::progress;
use crate::app::App;
use crate::feeds::Feed;
use crate::feeds::meter::Reading;
use crate::index::drills::Drill;
use crate::limits::{MAX_AUDIT_WAITING, MAX_COUNTED_HELD, MAX_WAITING};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How old what was looked up in the index may be.
const FRESH: Duration = Duration::from_secs(1);

/// Where the values come from. It does not keep the service alive.
#[derive(Clone)]
struct Source {
    app: Weak<App>,
    looked_up: Arc<Mutex<Option<LookedUp>>>,
}

/// What the index says.
#[derive(Clone, Copy)]
struct LookedUp {
    at: Instant,
    outbox: u64,
    log: u64,
    checkpoint: u64,
    anchored: u64,
    /// When nothing waited for an anchor, or the last one was seen to come.
    moved: Instant,
    /// Subscriptions that are on, and those of them whose receivers do not take notifications.
    subscriptions: u64,
    failing: u64,
    /// Messages in quarantine that wait to be replayed, counted up to a bound.
    held: u64,
    pushes: u64,
    /// When the index was last copied, in milliseconds since 1970, and the newest drill.
    backup: Option<i64>,
    drill: Option<(i64, bool)>,
}

impl LookedUp {
    fn now(app: &App, before: Option<Self>) -> Option<Self> {
        let (store, at) = (&app.core.store, Instant::now());
        let progress = progress(&app.core).ok()?;
        let subscriptions = store.subscriptions().ok()?;
        let (outbox, log, anchored) = (store.waiting().ok()?, progress.log, progress.anchored);
        let stands = before.filter(|before| before.anchored == anchored && before.unanchored() > 0);
        let failing = subscriptions.iter().filter(|one| one.failures > 0).count() as u64;
        let moved = stands.map_or(at, |before| before.moved);
        let subscriptions = subscriptions.len() as u64;
        let held = store.held_count(MAX_COUNTED_HELD).ok()? as u64;
        let pushes = store.waiting_pushes("").ok()? as u64;
        let drill = store.drilled().ok()?.map(|Drill { at, proved, .. }| (at, proved));
        let never = (!store.is_shared()).then_some(0);
        let (checkpoint, backup) = (progress.checkpoint, store.backed_up().ok()?.or(never));
        Some(Self { at, outbox, log, checkpoint, anchored, moved, subscriptions, failing, held, pushes, backup, drill })
    }

    fn unanchored(&self) -> u64 {
        (self.log + self.outbox).saturating_sub(self.anchored)
    }

    /// For how many seconds entries have waited without an anchor coming.
    fn lag(&self) -> f64 {
        if self.unanchored() == 0 { 0.0 } else { (self.at - self.moved).as_secs_f64() }
    }
}

impl Source {
    fn looked_up(&self) -> Option<LookedUp> {
        let mut kept = self.looked_up.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none_or(|kept| kept.at.elapsed() >= FRESH) {
            // An index that does not answer tells nothing: a gap says more than an old number.
            let fresh = self.app.upgrade().and_then(|app| LookedUp::now(&app, *kept))?;
            *kept = Some(fresh);
        }
        *kept
    }
}

/// Makes gauges.
struct Maker<'m> {
    meter: &'m Meter,
    source: Source,
}

impl Maker<'_> {
    /// Tells what the service has at hand, as long as there is one.
    fn telling(
        &self,
        value: impl Fn(&App) -> Option<u64> + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static {
        let app = self.source.app.clone();
        move |to| {
            if let Some(value) = app.upgrade().and_then(|app| value(&app)) {
                to.observe(value, &[]);
            }
        }
    }

    /// A number that the service has at hand.
    fn of_app(
        &self,
        name: &'static str,
        what: &'static str,
        value: impl Fn(&App) -> Option<u64> + Send + Sync + 'static,
    ) {
        let tell = self.telling(value);
        self.meter.u64_observable_gauge(name).with_description(what).with_callback(tell).build();
    }

    /// One that only grows.
    fn total(
        &self,
        name: &'static str,
        what: &'static str,
        value: impl Fn(&App) -> Option<u64> + Send + Sync + 'static,
    ) {
        let tell = self.telling(value);
        self.meter.u64_observable_counter(name).with_description(what).with_callback(tell).build();
    }

    /// A number out of the index.
    fn of_index(&self, name: &'static str, what: &'static str, value: fn(&LookedUp) -> u64) {
        self.perhaps(name, what, move |looked_up| Some(value(looked_up)));
    }

    /// A number out of the index that is not always there.
    fn perhaps(
        &self,
        name: &'static str,
        what: &'static str,
        value: impl Fn(&LookedUp) -> Option<u64> + Send + Sync + 'static,
    ) {
        let source = self.source.clone();
        let tell = move |to: &dyn AsyncInstrument<u64>| {
            if let Some(value) = source.looked_up().as_ref().and_then(&value) {
                to.observe(value, &[]);
            }
        };
        self.meter.u64_observable_gauge(name).with_description(what).with_callback(tell).build();
    }

    /// A number of each feed, which the configuration names.
    fn of_feeds(&self, name: &'static str, what: &'static str, value: fn(&Reading) -> Option<u64>) {
        let app = self.source.app.clone();
        let tell = move |to: &dyn AsyncInstrument<u64>| {
            let Some(app) = app.upgrade() else { return };
            let now = app.core.clock.now().as_millisecond();
            for feed in app.core.feeds().all() {
                let Feed { name, meter, .. } = feed.as_ref();
                if let Some(value) = value(&meter.read(now)) {
                    to.observe(value, &[KeyValue::new("feed", name.clone())]);
                }
            }
        };
        self.meter.u64_observable_gauge(name).with_description(what).with_callback(tell).build();
    }

    fn lag(&self) {
        let source = self.source.clone();
        let tell = move |to: &dyn AsyncInstrument<f64>| {
            if let Some(looked_up) = source.looked_up() {
                to.observe(looked_up.lag(), &[]);
            }
        };
        let gauge = self.meter.f64_observable_gauge("medseal_anchor_lag").with_unit("s");
        gauge.with_description("For how long entries have waited without an anchor coming").with_callback(tell).build();
    }

    /// Which program this is.
    fn build(&self) {
        let version = KeyValue::new("version", env!("CARGO_PKG_VERSION"));
        let tell = move |to: &dyn AsyncInstrument<u64>| to.observe(1, std::slice::from_ref(&version));
        let gauge = self.meter.u64_observable_gauge("medseal_build_info");
        gauge.with_description("The version that runs").with_callback(tell).build();
    }
}

/// Begins to tell them.
pub fn watch(app: &Arc<App>) {
    let source = Source { app: Arc::downgrade(app), looked_up: Arc::default() };
    let make = Maker { meter: app.core.metrics.meter(), source };
    make.build();
    queues(&make);
    log(&make);
    caches(&make);
    process(&make);
    feeds(&make);
    copies(&make);
    make.of_app("medseal_tls_certificate_expires_seconds", "When the listeners' certificate ends, since 1970", |app| {
        u64::try_from(app.core.feeds().doors.ends?).ok()
    });
    make.of_app(
        "medseal_tls_revoked_expires_seconds",
        "When the first list of revoked certificates ends, since 1970",
        |app| u64::try_from(app.core.feeds().doors.lists_end?).ok(),
    );
    make.of_index("medseal_exchange_waiting", "Pushes that wait to be taken", |index| index.pushes);
    make.of_app(
        "medseal_exchange_rules_paused",
        "Rules that stand still, since nobody takes what they pushed",
        |app| Some(app.exchange.as_ref().map_or(0, |exchange| exchange.rules.paused()) as u64),
    );
    make.of_index("medseal_subscriptions", "Subscriptions that are on", |index| index.subscriptions);
    make.of_index("medseal_subscriptions_failing", "Subscriptions whose receivers take nothing", |index| index.failing);
}

fn queues(make: &Maker<'_>) {
    make.of_app("medseal_commit_queue", "Transactions that wait for the committer", |app| {
        let queue = app.committer.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().map(|queue| (queue.max_capacity() - queue.capacity()) as u64)
    });
    make.of_app("medseal_commit_queue_limit", "How many may wait for the committer", |_| Some(MAX_WAITING as u64));
    make.of_app("medseal_audit_waiting", "AuditEvents that wait to be committed", |app| {
        Some(app.core.trail.len() as u64)
    });
    make.of_app("medseal_audit_waiting_limit", "How many AuditEvents may wait", |_| Some(MAX_AUDIT_WAITING as u64));
    make.of_app("medseal_audit_failing", "1 while AuditEvents cannot be committed", |app| {
        Some(u64::from(app.core.trail.is_failing()))
    });
}

fn feeds(make: &Maker<'_>) {
    make.of_index("medseal_quarantine_waiting", "Messages in quarantine that were not replayed", |index| index.held);
    make.of_feeds("medseal_feed_connections", "Open connections of those who may speak for a feed", |feed| {
        Some(feed.connections as u64)
    });
    make.of_feeds("medseal_feed_last_message_seconds", "When a feed's last message came, since 1970", |feed| {
        seconds(feed.last?)
    });
}

fn copies(make: &Maker<'_>) {
    // What never was is told, too: an alarm has something to look at. PostgreSQL is copied by its own means, of which nothing is known here.
    let of_backup = |index: &LookedUp| seconds(index.backup?);
    make.perhaps("medseal_backup_time_seconds", "When the index was last copied, since 1970; 0: never", of_backup);
    make.perhaps("medseal_drill_time_seconds", "When the last drill began, since 1970; 0: never", |index| {
        seconds(index.drill.map_or(0, |(began, _)| began))
    });
    make.perhaps("medseal_drill_proved", "1 if the last drill proved everything", |index| {
        Some(u64::from(index.drill?.1))
    });
}

fn seconds(milliseconds: i64) -> Option<u64> {
    u64::try_from(milliseconds / 1_000).ok()
}

fn log(make: &Maker<'_>) {
    make.of_index("medseal_log_outbox", "Committed entries that are not in the log yet", |index| index.outbox);
    make.of_index("medseal_log_size", "Entries of the log", |index| index.log);
    make.of_index("medseal_log_checkpoint_size", "Entries under the newest checkpoint", |index| index.checkpoint);
    make.of_index("medseal_log_anchored_size", "Entries under the newest anchor", |index| index.anchored);
    make.of_index("medseal_log_unanchored", "Committed entries without an anchor", LookedUp::unanchored);
    make.lag();
    make.of_app("medseal_chain_contradiction", "1 if chain and log are not of one history", |app| {
        Some(u64::from(app.core.chain.trouble().is_some_and(|trouble| trouble.is_contradiction)))
    });
    // Whoever does not anchor any more would not hear that it goes on again.
    make.of_app("medseal_chain_away", "1 while the chain does not go on, told by the replica that anchors", |app| {
        let trouble = app.core.chain.trouble().filter(|_| app.core.lease.held().is_some());
        Some(u64::from(trouble.is_some_and(|trouble| !trouble.is_contradiction)))
    });
    make.of_app("medseal_lease_held", "1 where this replica does the background work", |app| {
        Some(u64::from(app.core.lease.held().is_some()))
    });
}

fn caches(make: &Maker<'_>) {
    make.total("medseal_cache_hits", "Parts of packs that were kept near", |app| Some(app.core.objects.cache_use()?.0));
    make.total("medseal_cache_misses", "Parts of packs that were fetched", |app| Some(app.core.objects.cache_use()?.1));
}

/// What Linux says of this process; elsewhere nothing.
fn process(make: &Maker<'_>) {
    let status = |name: &str| {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
    };
    make.of_app("process_resident_memory_bytes", "Memory in use", move |_| Some(status("VmRSS:")? * 1_024));
    make.of_app("process_threads", "Threads", move |_| status("Threads:"));
    make.of_app("process_open_fds", "Open files and sockets", |_| {
        Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
    });
    make.of_app("process_start_time_seconds", "When the service was started, since 1970", |app| {
        u64::try_from(app.started.as_second()).ok()
    });
}
