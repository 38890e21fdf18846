//! Rules: each follows the committed rows of its type, in their order, and makes an order of each version that its criteria find and its
//! patient consents to give. How far it came is kept with the orders, so that a crash loses none and makes none twice. Of one rule's orders
//! so many wait at most: then it stands still, and what it has not looked at yet waits where it is, in the record.

use super::contents::contents;
use super::error::ExchangeError;
use super::of;
use super::order::Order;
use super::peers::{Intent, outside_of};
use super::respond::{caller, derived, is_of_record};
use crate::app::{App, Core, StartError};
use crate::config::{Exchange as Settings, PushRule};
use crate::consent::decide::decide;
use crate::consent::outside::Outside;
use crate::consent::policy::Coding;
use crate::fhir::subscription::Criteria;
use crate::ids::{Name, Version};
use crate::index::pushes::{Push, Ruled, State};
use crate::index::store::Stored;
use crate::limits::{FOLLOW_RETRY, FOLLOWED_AT_ONCE, MAX_RULED};
use crate::notify::open_or_leave;
use crate::read::{Opened, in_background};
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use notary::canonical::Json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked for new rows.
const LOOK: Duration = Duration::from_millis(500);
/// How far a rule may come without a row of its type before that is written down: looking again harms nobody.
const UNWRITTEN: i64 = 10_000;
/// Of so many newer versions it is looked whether they have arrived: hardly anything changes as often within a week.
const MAX_LATER: usize = 100;

/// All of them.
#[derive(Debug, Default)]
pub struct Rules {
    pub all: Vec<Rule>,
    /// How many orders of one may wait.
    pub most: AtomicUsize,
}

/// A rule that was understood.
#[derive(Debug)]
pub struct Rule {
    pub said: PushRule,
    criteria: Criteria,
    /// What the ids of its orders begin with.
    pub prefix: String,
    paused: AtomicBool,
}

impl Rules {
    /// Reads those of the configuration.
    pub fn read(settings: &Settings, core: &Core) -> Result<Self, StartError> {
        let all = settings.rules.iter().map(|said| Rule::read(said, core)).collect::<Result<Vec<_>, _>>()?;
        // Together they leave room for what people and programs push.
        let most = AtomicUsize::new(MAX_RULED / all.len().max(1));
        Ok(Self { all, most })
    }

    /// How many stand still, as far as this replica follows them.
    pub fn paused(&self) -> usize {
        self.all.iter().filter(|rule| rule.paused.load(Ordering::Relaxed)).count()
    }
}

impl Rule {
    fn read(said: &PushRule, core: &Core) -> Result<Self, StartError> {
        let wrong = |what: &str| StartError::Config(format!("exchange.rules, {}: criteria: {what}", said.name));
        let criteria = Criteria::read(&said.criteria, &core.around()).map_err(|issue| wrong(&issue.text))?;
        if !is_of_record(criteria.kind) {
            return Err(wrong("of a type that is part of a patient's record"));
        }
        let name = derived("rule", &[&said.name]).to_string().replace('-', "");
        Ok(Self { said: said.clone(), criteria, prefix: format!("rule-{name}-"), paused: AtomicBool::new(false) })
    }

    fn purpose(&self, core: &Core) -> Coding {
        self.said.purpose().unwrap_or_else(|| core.gate.purpose.clone())
    }

    /// Tells once that it stands still, and once that it goes on.
    fn pauses(&self, paused: bool) {
        match (self.paused.swap(paused, Ordering::Relaxed), paused) {
            (false, true) => {
                tracing::warn!(rule = %self.said.name, to = %self.said.to, "a rule stands still: what it pushed before is not taken");
            }
            (true, false) => tracing::info!(rule = %self.said.name, to = %self.said.to, "a rule goes on"),
            _ => {}
        }
    }

    /// The same version of the same rule is the same push.
    fn id(&self, name: &Name, version: Version) -> String {
        let parts = [&self.said.name, &name.to_string(), &version.to_string()];
        format!("{}{}", self.prefix, derived("ruled", &parts.map(String::as_str)))
    }

    /// The order of a version.
    fn push(&self, app: &App, patient: &Name, places: Vec<(String, u32)>, row: &Stored) -> Result<Push, ExchangeError> {
        let intent = Intent { user: None, purpose: self.purpose(&app.core) };
        let by = format!("rule {}", self.said.name);
        let mut order = Order::new(by, self.said.to.clone(), patient, places, intent);
        order.whole = true;
        order.queued(&app.core, self.id(&row.name, row.version))
    }
}

/// Follows for ever, where this replica does the background work.
pub async fn run(app: Arc<App>) {
    let Some(exchange) = app.exchange.as_ref().filter(|exchange| !exchange.rules.all.is_empty()) else { return };
    let most = &exchange.rules.most;
    let mut walks: Vec<Walk<'_>> = exchange.rules.all.iter().map(|rule| Walk::new(rule, most)).collect();
    loop {
        let epoch = app.core.lease.wait().await;
        let (store, mut more) = (app.core.store.clone(), false);
        // One look for all: most of the time there is nothing new for any. What cannot be told is looked for.
        let newest = in_background(move || store.newest()).await.unwrap_or(i64::MAX);
        for walk in &mut walks {
            more |= walk.turn(&app, epoch, newest).await;
        }
        if !more {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A rule on its way through the rows.
struct Walk<'r> {
    rule: &'r Rule,
    most: &'r AtomicUsize,
    at: Option<Position>,
    /// After a failure.
    rests_until: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Position {
    /// Of the lease that it follows under.
    epoch: i64,
    row: i64,
    written: i64,
}

/// The next rows.
struct Next {
    rows: Vec<Stored>,
    upto: i64,
    /// There is no room for what they may be.
    full: bool,
}

/// What a version is to a rule.
enum Event {
    Push(Box<Push>),
    /// Its patient does not consent.
    Withheld,
    /// It came from another server.
    Foreign,
    Nothing,
}

impl<'r> Walk<'r> {
    fn new(rule: &'r Rule, most: &'r AtomicUsize) -> Self {
        Self { rule, most, at: None, rests_until: None }
    }

    /// The next step, unless it failed a moment ago: one that fails holds up no other. Whether there may be more.
    async fn turn(&mut self, app: &App, epoch: i64, newest: i64) -> bool {
        let knows_all = self.at.is_some_and(|at| at.epoch == epoch && at.row >= newest);
        if knows_all || self.rests_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        self.rests_until = None;
        match self.step(app, epoch).await {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(rule = %self.rule.said.name, %error, "a rule does not go on; it will be tried again");
                (self.at, self.rests_until) = (None, Some(Instant::now() + FOLLOW_RETRY));
                false
            }
        }
    }

    async fn step(&mut self, app: &App, epoch: i64) -> Result<bool, ExchangeError> {
        let at = match self.at.filter(|at| at.epoch == epoch) {
            Some(at) => at,
            None => self.begin(app, epoch).await?,
        };
        let Next { rows, upto, full } = self.next(app, at.row).await?;
        self.rule.pauses(full);
        let events = self.rule.events(app, &rows).await?;
        let (mut pushes, mut withheld, mut foreign) = (Vec::new(), 0, 0);
        for event in events {
            match event {
                Event::Push(push) => pushes.push(*push),
                Event::Withheld => withheld += 1,
                Event::Foreign => foreign += 1,
                Event::Nothing => {}
            }
        }
        let queued = pushes.len() as u64;
        let mut at = Position { row: upto, ..at };
        if !rows.is_empty() || upto - at.written >= UNWRITTEN {
            at.written = upto;
            self.write(app, at, pushes).await?;
        }
        let words = [("queued", queued), ("withheld", withheld), ("foreign", foreign)];
        words.into_iter().for_each(|(word, more)| app.core.metrics.ruled.add(more, word));
        self.at = Some(at);
        Ok(!rows.is_empty() && !full)
    }

    /// Where it came to. A new rule begins with what comes: nobody has asked it to send what there is.
    async fn begin(&self, app: &App, epoch: i64) -> Result<Position, ExchangeError> {
        let (store, name) = (app.core.store.clone(), self.rule.said.name.clone());
        let row = in_background(move || match store.ruled(&name)? {
            Some(row) => Ok(row),
            None => {
                let upto = store.newest()?;
                store.rule(&Ruled { rule: name, epoch, upto, pushes: Vec::new() })?;
                Ok(upto)
            }
        });
        let row = row.await?;
        Ok(Position { epoch, row, written: row })
    }

    async fn next(&self, app: &App, after: i64) -> Result<Next, ExchangeError> {
        let (store, kind, prefix) = (app.core.store.clone(), self.rule.criteria.kind, self.rule.prefix.clone());
        let most = self.most.load(Ordering::Relaxed);
        let next = in_background(move || {
            let (mut rows, mut upto) = store.rows_after(&[kind], after, FOLLOWED_AT_ONCE)?;
            let room = if rows.is_empty() { most } else { most.saturating_sub(store.waiting_pushes(&prefix)?) };
            if rows.len() > room {
                rows.truncate(room);
                upto = rows.last().map_or(after, |row| row.row);
            }
            let full = room == 0;
            Ok(Next { rows, upto, full })
        });
        Ok(next.await?)
    }

    /// A crash before this commit leaves the rows to be followed again; after it the orders are there.
    async fn write(&self, app: &App, at: Position, pushes: Vec<Push>) -> Result<(), ExchangeError> {
        // One after the other, as far as the queue knows.
        let later = |(n, push): (i64, Push)| Push { due: push.due + n, made: push.made + n, ..push };
        let pushes = (0..).zip(pushes).map(later).collect();
        let ruled = Ruled { rule: self.rule.said.name.clone(), epoch: at.epoch, upto: at.row, pushes };
        let store = app.core.store.clone();
        Ok(in_background(move || store.rule(&ruled)).await?)
    }
}

impl Rule {
    /// What the rows are to it.
    async fn events(&self, app: &App, rows: &[Stored]) -> Result<Vec<Event>, ExchangeError> {
        let mut events = Vec::with_capacity(rows.len());
        if rows.is_empty() {
            return Ok(events);
        }
        let (to, purpose) = (&self.said.to, self.purpose(&app.core));
        let outside = outside_of(app, to, to.as_str(), None, purpose).await?;
        for row in rows {
            events.push(self.event(app, &outside, row).await?);
        }
        Ok(events)
    }

    async fn event(&self, app: &App, outside: &Outside, row: &Stored) -> Result<Event, ExchangeError> {
        let opened = if row.deleted { None } else { open_or_leave(&app.core, row).await? };
        let Some(opened) = opened else { return Ok(Event::Nothing) };
        let (Some(patient), json) = (opened.owner.as_patient(), opened.json()) else { return Ok(Event::Nothing) };
        if !self.criteria.takes(&json, &app.core.around()) {
            return Ok(Event::Nothing);
        }
        if is_foreign(&json, &app.core.base) {
            return Ok(Event::Foreign);
        }
        let caller = caller(&patient, outside.clone())?;
        match places(&app.core, &caller, &patient, opened).await? {
            Some(places) => Ok(Event::Push(Box::new(self.push(app, &patient, places, row)?))),
            None => Ok(Event::Withheld),
        }
    }
}

/// Refuses a rule's push where a newer version has arrived by the same rule: the queue promises no order, and a receiver that knows no
/// versions would take the older one for the news.
pub(super) async fn in_time(app: &App, push: &Push, order: &Order) -> Result<(), ExchangeError> {
    let rule = of(app)?.rules.all.iter().find(|rule| push.id.starts_with(&rule.prefix));
    let about =
        order.places.get(1).or(order.places.first()).and_then(|(name, version)| Some((Name::parse(name)?, *version)));
    let Some((rule, (name, version))) = rule.zip(about) else { return Ok(()) };
    let (store, wanted) = (app.core.store.clone(), name.clone());
    let Some(current) = in_background(move || store.current(&wanted)).await? else { return Ok(()) };
    let newer = (version + 1..=current.version.0).rev().take(MAX_LATER);
    let ids: Vec<String> = newer.map(|version| rule.id(&name, Version(version))).collect();
    let store = app.core.store.clone();
    let arrived = in_background(move || {
        let found = ids.iter().map(|id| store.push(id)).collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().flatten().any(|push| push.state == State::Delivered))
    });
    if arrived.await? { Err(ExchangeError::Late) } else { Ok(()) }
}

/// The patient as he stands, the version, and what it holds; nothing where he does not consent to either, or is there no more.
async fn places(
    core: &Core,
    caller: &Caller,
    patient: &Name,
    opened: Opened,
) -> Result<Option<Vec<(String, u32)>>, ExchangeError> {
    let place = |stored: &Stored| (stored.name.to_string(), stored.version.0);
    if !is_given(core, caller, &opened.stored.name, &opened.json()).await? {
        return Ok(None);
    }
    if opened.stored.name == *patient {
        return Ok(Some(vec![place(&opened.stored)]));
    }
    let (store, name) = (core.store.clone(), patient.clone());
    let stored = in_background(move || store.current(&name)).await?.filter(|stored| !stored.deleted);
    let Some(stored) = stored else { return Ok(None) };
    let Some(himself) = open_or_leave(core, &stored).await? else { return Ok(None) };
    if !is_given(core, caller, patient, &himself.json()).await? {
        return Ok(None);
    }
    let sent = [himself, opened];
    let (held, _) = contents(core, caller, patient, &sent).await?;
    Ok(Some(sent.iter().chain(&held).map(|one| place(&one.stored)).collect()))
}

/// Whether it would be shown to the receiver now. When it is delivered it is asked again: this keeps out of the queue what would be refused.
async fn is_given(core: &Core, caller: &Caller, name: &Name, resource: &Json) -> Result<bool, ExchangeError> {
    let permit = decide(caller, Interaction::Read, Some(name.kind));
    let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
    Ok(permit.covers(name, resource, &core.around()) && core.consents_to(&permit, name, resource).await?)
}

/// What came from another server, as its source says: passed on by a rule there and a rule here it would never come to rest.
pub(super) fn is_foreign(resource: &Json, base: &str) -> bool {
    let source = resource.get("meta").and_then(|meta| meta.text("source")).unwrap_or_default();
    let Some((address, _)) = source.split_once("/_history/") else { return false };
    let Some((n, _)) = address.rmatch_indices('/').nth(1) else { return false };
    let (server, place) = address.split_at(n);
    server != base && place.get(1..).is_some_and(|place| Name::parse(place).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_another_server_is_known_by_its_source() {
        for (source, expected) in [
            ("https://b/fhir/Observation/o/_history/2", true),
            ("http://b:8080/Observation/o/_history/2", true),
            ("https://a/fhir/Observation/o/_history/2", false),
            ("urn:hl7:LAB", false),
            ("https://b/fhir/Observation/o", false),
            ("https://b/_history/2", false),
            ("Observation/o/_history/2", false),
        ] {
            let json = Json::parse(format!("{{\"meta\":{{\"source\":\"{source}\"}}}}").as_bytes()).unwrap();
            assert_eq!(is_foreign(&json, "https://a/fhir"), expected, "{source}");
        }
        assert!(!is_foreign(&Json::parse(b"{}").unwrap(), "https://a/fhir"));
    }
}
