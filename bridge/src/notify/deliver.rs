//! Sends what is queued. Each subscription has its turn for itself: one that does not answer holds up no other. What failed is
//! sent again, later and later, for a week; a subscription that fails says so in its status and goes on.

use super::message::{self, Damaged, Why};
use super::{Live, live};
use crate::app::{App, Core};
use crate::commit::{Author, Transaction};
use crate::consent::decide::{Permit, decide};
use crate::error::{Fault, VaultError};
use crate::fhir::subscription::{Form, Status, with_status};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::ids::ResourceId;
use crate::index::notices::{Notice, Subscribed};
use crate::index::standing::Outcome;
use crate::index::store::{Store, StoreError};
use crate::ingest::commit;
use crate::limits::{FIRST_RETRY, GIVE_UP, KEPT_EVENTS, LAST_RETRY, MAX_DELIVERIES, OUTGOING_TIMEOUT, TELL_FAILURES};
use crate::outgoing::SendError;
use crate::read::in_background;
use crate::secret::{bytes as random_bytes, system_random};
use crate::smart::scopes::Interaction;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::Instrument;

/// How often it is looked for what is due and nobody rang for.
const LOOK: Duration = Duration::from_secs(5);
/// Later than ever.
const NEVER: i64 = i64::MAX;

/// Delivers for ever.
pub(super) async fn run(app: Arc<App>) {
    let mut running: JoinSet<ResourceId> = JoinSet::new();
    let mut busy: HashSet<ResourceId> = HashSet::new();
    loop {
        // What one replica has sent as another takes over is sent twice rather than never.
        app.core.lease.wait().await;
        let pause = start(&app, &mut running, &mut busy).await;
        tokio::select! {
            Some(ended) = running.join_next(), if !running.is_empty() => match ended {
                Ok(id) => _ = busy.remove(&id),
                // It broke off with a fault of ours: nobody is busy that is not running.
                Err(_) if running.is_empty() => busy.clear(),
                Err(_) => {}
            },
            () = app.core.notices.queued.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Sets off what is due, and tells how long nothing more will be.
async fn start(app: &Arc<App>, running: &mut JoinSet<ResourceId>, busy: &mut HashSet<ResourceId>) -> Duration {
    let now = now(&app.core);
    let (due, next) = match store(&app.core, move |store| store.due(now)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, "the queue of notifications cannot be read; it will be tried again");
            return LOOK;
        }
    };
    for id in due {
        if running.len() >= MAX_DELIVERIES {
            break;
        }
        if busy.insert(id.clone()) {
            running.spawn(turn(app.clone(), id));
        }
    }
    let wait = next.map_or(LOOK, |next| Duration::from_millis(next.saturating_sub(now).max(1) as u64));
    wait.min(LOOK)
}

fn now(core: &Core) -> i64 {
    core.clock.now().as_millisecond()
}

async fn store<T: Send + 'static>(
    core: &Core,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, VaultError> {
    let store = core.store.clone();
    in_background(move || work(&store)).await
}

/// One turn of one subscription.
async fn turn(app: Arc<App>, id: ResourceId) -> ResourceId {
    let key = id.clone();
    let kept = match store(&app.core, move |store| store.subscription(&key)).await {
        Ok(Some(kept)) => kept,
        // It ended since, or the index does not answer: whatever is due is looked for again.
        Ok(None) | Err(_) => return id,
    };
    if let Err(error) = deliver(&app, &kept).await {
        tracing::error!(%error, subscription = %id, "a notification could not be made; it will be tried again");
        // An index that does not answer is asked again anyway.
        let _ = settle(&app.core, &kept, broken(&error, kept.failures, now(&app.core))).await;
    }
    id
}

/// What follows a fault on this side. A damaged record does not mend itself by being looked at: it counts like a refusal, so
/// that it is looked at ever more rarely, and an event is left out in the end.
fn broken(error: &VaultError, failures: u32, now: i64) -> Outcome {
    match error.fault() {
        Fault::Us => Outcome::Missed { due: now + millis(pause(failures.saturating_add(1), u8::MAX)) },
        Fault::Sender | Fault::RetryLater => Outcome::Wait { due: now + millis(LAST_RETRY) / 10 },
    }
}

fn millis(time: Duration) -> i64 {
    time.as_millis() as i64
}

/// What is to be sent now.
enum Task {
    Send(Why, Vec<Notice>),
    /// Nothing before this time.
    Wait(i64),
}

async fn deliver(app: &Arc<App>, kept: &Subscribed) -> Result<(), VaultError> {
    let core = &app.core;
    let now = now(core);
    let later = Outcome::Wait { due: now + millis(LAST_RETRY) };
    let Some(live) = live(core, kept.clone()).await? else { return settle(core, kept, later).await };
    if live.wanted.end.is_some_and(|end| end <= now) || gave_up(&live, now) {
        settle(core, kept, later).await?;
        return note(app, &live, Status::Off, None).await;
    }
    let (why, notices) = match task(core, &live, now).await? {
        Task::Wait(due) => return settle(core, kept, Outcome::Rest { due }).await,
        Task::Send(why, notices) => (why, notices),
    };
    let damaged = if kept.failures < TELL_FAILURES { Damaged::Refused } else { Damaged::LeftOut };
    // What its maker may read was asked when it was queued; it is asked again before it leaves.
    let (events, upto) = match permit(core, &live).await? {
        Some(permit) => message::events(core, &permit, notices, live.wanted.content, damaged).await?,
        None => (Vec::new(), notices.last().map_or(0, |notice| notice.number)),
    };
    let silent = why == Why::Event && events.is_empty();
    let sent = silent || taken(app, &live, why, &events).await?;
    if sent { arrived(app, &live, upto).await } else { missed(app, &live, why).await }
}

/// What its maker may still read; none where its client was removed since, or what somebody had allowed it has ended.
async fn permit(core: &Core, live: &Live) -> Result<Option<Permit>, VaultError> {
    let (client, grant, now) = (live.maker.client.clone(), live.maker.grant.clone(), now(core));
    if !store(core, move |store| store.stands("", client.as_deref(), grant.as_deref(), now)).await? {
        return Ok(None);
    }
    Ok(decide(&live.maker, Interaction::Read, Some(live.wanted.kind)).ok())
}

/// The handshake, then what waits, then the heartbeat.
async fn task(core: &Core, live: &Live, now: i64) -> Result<Task, VaultError> {
    if live.kept.handshake {
        return Ok(Task::Send(Why::Handshake, Vec::new()));
    }
    let at_once = if let Form::Topic { at_once, .. } = live.wanted.form { at_once } else { 1 };
    let id = live.kept.id.clone();
    let waiting = store(core, move |store| match store.unsent(&id)? {
        Some(from) => store.notices(&id, from, u64::MAX, at_once),
        None => Ok(Vec::new()),
    });
    let waiting = waiting.await?;
    let beat = next_beat(live, live.kept.last);
    Ok(match waiting.is_empty() {
        false => Task::Send(Why::Event, waiting),
        true if beat <= now => Task::Send(Why::Heartbeat, Vec::new()),
        true => Task::Wait(beat),
    })
}

/// When silence has lasted so long that the receiver is to know that all is well, or when the subscription ends.
fn next_beat(live: &Live, last: i64) -> i64 {
    let beat = match live.wanted.form {
        Form::Topic { heartbeat: Some(seconds), .. } => last.saturating_add(i64::from(seconds) * 1_000),
        _ => NEVER,
    };
    live.wanted.end.map_or(beat, |end| beat.min(end))
}

fn gave_up(live: &Live, now: i64) -> bool {
    live.kept.failing.is_some_and(|since| now - since > millis(GIVE_UP))
}

/// Whether the receiver took it. R4's own form has no handshake.
async fn taken(app: &App, live: &Live, why: Why, events: &[message::Event]) -> Result<bool, VaultError> {
    if why == Why::Handshake && matches!(live.wanted.form, Form::Search) {
        return Ok(true);
    }
    let outbound = message::outbound(&app.core, live, why, events)?;
    let longest = if let Form::Topic { timeout, .. } = live.wanted.form { timeout } else { OUTGOING_TIMEOUT };
    let sending = app.outgoing.send(outbound).instrument(tracing::info_span!("notify", otel.kind = "client"));
    let sent = tokio::time::timeout(longest, sending).await.unwrap_or(Err(SendError::TimedOut));
    let took = matches!(&sent, Ok(answer) if answer.status.is_success());
    app.core.metrics.notifications.add(1, if took { "taken" } else { "missed" });
    match sent {
        Ok(_) if took => Ok(true),
        Ok(answer) => {
            tracing::warn!(subscription = %live.kept.id, status = answer.status.as_u16(), "a notification was refused");
            Ok(false)
        }
        Err(error) => {
            tracing::warn!(subscription = %live.kept.id, %error, "a notification did not arrive");
            Ok(false)
        }
    }
}

async fn arrived(app: &Arc<App>, live: &Live, upto: u64) -> Result<(), VaultError> {
    // A crash before this leaves the event unsent in the index: it is sent twice rather than never.
    settle(&app.core, &live.kept, Outcome::Took { upto }).await?;
    app.core.notices.queued.notify_one();
    match live.wanted.status {
        Status::Active | Status::Off => Ok(()),
        Status::Requested | Status::Error => note(app, live, Status::Active, None).await,
    }
}

async fn missed(app: &Arc<App>, live: &Live, why: Why) -> Result<(), VaultError> {
    let failures = live.kept.failures + 1;
    let due = now(&app.core) + millis(pause(failures, chance()?));
    settle(&app.core, &live.kept, Outcome::Missed { due }).await?;
    // A handshake that fails is told at once (R5 backport, section 1.6.1.2).
    let told = failures == TELL_FAILURES || why == Why::Handshake;
    if told && live.wanted.status != Status::Error {
        let text = "the endpoint does not take notifications; they are kept and tried again";
        return note(app, live, Status::Error, Some(text)).await;
    }
    Ok(())
}

/// Twice as long after each failure, up to a bound, and not all at the same moment: from half of it to the whole.
fn pause(failures: u32, chance: u8) -> Duration {
    let whole = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LAST_RETRY);
    whole / 2 + whole / 2 * u32::from(chance) / 255
}

fn chance() -> Result<u8, VaultError> {
    let [chance] = random_bytes(&system_random)?;
    Ok(chance)
}

async fn settle(core: &Core, kept: &Subscribed, outcome: Outcome) -> Result<(), VaultError> {
    let (kept, now) = (kept.clone(), now(core));
    store(core, move |store| store.settle(&kept, outcome, now, KEPT_EVENTS)).await
}

/// Writes the new state into the Subscription, unless a client changed it meanwhile: that change counts.
async fn note(app: &Arc<App>, live: &Live, status: Status, error: Option<&str>) -> Result<(), VaultError> {
    let changed = with_status(live.opened.json(), status, error);
    let Ok(resource) = validate(changed) else { return Ok(()) };
    let (name, version) = (&live.opened.stored.name, live.opened.stored.version);
    let target = Target { kind: name.kind, by: By::Id(name.id.clone()), if_match: Some(version), only_new: false };
    let writes = vec![Write::alone(Act::Update { target, resource })];
    if let Err(refused) = commit(app, Transaction { by: Author::Service, writes, message: None }).await
        && refused.is_news()
    {
        tracing::warn!(%refused, subscription = %live.kept.id, "the state of a subscription could not be written down");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_counts_and_a_store_that_does_not_answer_does_not() {
        let damaged = VaultError::Tampered { pack: "packs/x".into(), offset: 0, what: "x" };
        assert_eq!(broken(&damaged, 0, 100), Outcome::Missed { due: 100 + millis(FIRST_RETRY) });
        assert_eq!(broken(&damaged, u32::MAX, 100), Outcome::Missed { due: 100 + millis(LAST_RETRY) });
        let away = VaultError::Index(StoreError::Nonsense("x"));
        assert_eq!(broken(&away, 9, 100), Outcome::Wait { due: 100 + 60_000 });
    }

    #[test]
    fn a_pause_grows_to_its_bound_and_is_never_the_same_for_all() {
        assert_eq!((pause(1, 0), pause(1, 255)), (FIRST_RETRY / 2, FIRST_RETRY));
        assert_eq!(pause(3, 255), FIRST_RETRY * 4);
        assert_eq!((pause(30, 255), pause(u32::MAX, 0)), (LAST_RETRY, LAST_RETRY / 2));
    }
}
