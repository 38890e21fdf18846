//! What a running medseal holds, and how it starts: open everything, check that it fits together, begin to work.

pub mod keep;
mod own_keys;
mod presence;
pub mod probe;
mod refusal;
pub(crate) mod roots;
mod rules;
mod wal;
mod workers;

use own_keys::OwnKeys;
pub use own_keys::existing_token_key;
use probe::Probe;
pub use refusal::StartError;
pub use workers::{Workers, start};

use crate::anchor::{self, Chain, Embedded, Evm, Place, Witnesses};
use crate::audit::trail::Trail;
use crate::clock::Clock;
use crate::commit::Waiting;
use crate::config::{Config, Otherwise};
use crate::consent::emergency::Terms;
use crate::consent::gate::Gate;
use crate::consent::policy::Policy;
use crate::consent::registry::Grants;
use crate::error::VaultError;
use crate::exchange::Exchange;
use crate::export::Exports;
use crate::feeds::Feeds;
use crate::feeds::pace::Paces;
use crate::fhir::profile::Profiles;
use crate::ids::Owner;
use crate::index::store::Store;
use crate::index::tokens::{Token, Tokenizer};
use crate::lease::Lease;
use crate::notify::Notices;
use crate::outgoing::Outgoing;
use crate::people::openid::Providers;
use crate::people::secrets::Secrets;
use crate::places::News;
use crate::rooms::Rooms;
use crate::secret::Key;
use crate::smart::identity::IdentityKey;
use crate::smart::key_sets::KeySets;
use crate::smart::standing::Standing;
use crate::smart::token::TokenKey;
use crate::telemetry::{self, Metrics, trace::Traces};
use crate::upkeep;
use crate::upkeep::recover::tail::catch_up;
use crate::vault::keys::{KeyError, KeyRing};
pub use crate::vault::objects::private_directory;
use crate::vault::objects::{Objects, close_to_others, private};
use notary::checkpoint::LogSigner;
use notary::witness::Witness;
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{Notify, OnceCell, Semaphore, mpsc};

/// What the write path, the read path and the anchor share.
pub struct Core {
    pub clock: Arc<dyn Clock>,
    pub custodian: String,
    /// The address of the FHIR API, without a slash at its end.
    pub base: String,
    pub store: Arc<Store>,
    pub objects: Objects,
    pub keys: Arc<KeyRing>,
    pub tokens: Arc<Tokenizer>,
    pub(crate) erasures: Key,
    /// What patients consent to.
    pub gate: Gate,
    /// Which of the grants that Consents name stand.
    pub grants: Grants,
    /// What of accesses is not told yet.
    pub trail: Trail,
    /// Seals the cursors of pages.
    pub cursor_key: Key,
    identities: Tokenizer,
    /// What accounts are kept with.
    pub secrets: Arc<Secrets>,
    feeds: RwLock<Arc<Feeds>>,
    /// That somebody sent what is no feed's.
    pub strangers: News,
    pub signer: LogSigner,
    pub chain: Chain,
    /// Who cosigns our checkpoints.
    pub witnesses: Witnesses,
    /// Cosigns those of others, if it is configured.
    pub witness: Option<Witness>,
    /// Rung when something waits for the sequencer.
    pub wake_sequencer: Notify,
    /// Who does the background work.
    pub lease: Arc<Lease>,
    pub exports: Exports,
    pub notices: Notices,
    pub metrics: Metrics,
    /// Traces that end with an anchor.
    pub traces: Traces,
}

/// A running medseal.
pub struct App {
    pub core: Arc<Core>,
    pub config: Config,
    pub token_key: TokenKey,
    /// What ID tokens are signed with, once somebody has needed it.
    identity_key: OnceCell<IdentityKey>,
    /// Which tokens were revoked.
    pub standing: Standing,
    /// Clients' keys that were fetched.
    pub key_sets: KeySets,
    /// Sends requests of our own to what clients name.
    pub outgoing: Outgoing,
    /// The same to other organisations: those that the configuration lists may be anywhere.
    pub partners: Outgoing,
    /// The same to receivers of pushes that know nothing of medseal.
    pub receivers: Outgoing,
    /// The same to providers that people sign in by.
    pub issuers: Outgoing,
    /// What `$validate` checks by, beside the standard.
    pub profiles: Arc<Profiles>,
    /// The committer's queue; taken away when the service stops.
    pub committer: Mutex<Option<mpsc::Sender<Waiting>>>,
    /// Room for request bodies in memory, by the token's subject.
    pub bodies: Arc<Rooms>,
    /// Room for long MLLP frames, by address.
    pub frames: Arc<Rooms>,
    /// How fast each client may ask.
    pub paces: Paces,
    /// How fast strangers may, each address.
    pub strangers: Paces,
    /// Room for people who are signing in.
    pub sign_ins: Semaphore,
    /// Room for apps that register themselves.
    pub registrations: Semaphore,
    /// Room for those who withdraw access by a code.
    pub withdrawals: Semaphore,
    /// What opens `/metrics` beside the API, where it is configured.
    pub metrics_token: Option<Vec<u8>>,
    /// What outside providers have said of themselves.
    pub providers: Providers,
    /// Other organisations, where there are any.
    pub exchange: Option<Exchange>,
    /// Whether what is taken in can be written.
    pub probe: Probe,
    /// When the service was started.
    pub started: jiff::Timestamp,
    /// Held as long as the process lives: one process a data directory.
    _lock: File,
    /// Logs whose newest cosigned checkpoint was looked for beside the packs.
    witnessed: Mutex<HashSet<String>>,
}

/// Everything opened, not working yet: for the service, and for commands at the machine.
pub struct Opened {
    pub core: Arc<Core>,
    pub token_key: TokenKey,
    lock: File,
}

/// Opens the data directory. Start and recovery are this same path: whatever a crash left is mended here or was
/// harmless (see the crash comments in `commit.rs`, `anchor.rs` and the ledger's journal).
pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Opened, StartError> {
    let data = &config.data;
    let directory = |source| StartError::Directory { path: data.clone(), source };
    private_directory(data).map_err(directory)?;
    let lock = lock(config)?;
    close_all(data);
    let store = Arc::new(index(config)?);
    let objects = objects(config, Some(&data.join("cache")))?;
    let fresh = store.is_empty()?;
    keep::not_recovering(&store)?;
    if fresh {
        nothing_else_here(config, &store, &objects).await?;
    }
    let keys = Arc::new(roots::open(config, &store, &objects, fresh).await?);
    store.keep_setting("custodian", &config.custodian)?;
    store.keep_setting("log.origin", &config.log.origin)?;
    let own = OwnKeys { keys: &keys, store: &store, objects: &objects };
    let index_key = own.key(".index").await?;
    let identity_key = own.key(".identity").await?;
    let log_key = own.key(".log").await?;
    let cursor_key = own.key(".cursor").await?;
    let marks = own.key(".marks").await?;
    let accounts = own.key(".accounts").await?;
    let erasures = own.key(keep::ERASURES).await?;
    let now = clock.now().as_second().max(0) as u64;
    let token_key = own.token_key(config).await?.serving(&config.base());
    let witness = match &config.witness {
        Some(settings) => {
            let key = own.key(".witness").await?;
            Some(Witness::from_seed(&settings.name, key.expose())?)
        }
        None => None,
    };
    let lease = Arc::new(Lease::new(!store.is_shared()).map_err(KeyError::from)?);
    let place = match &config.chain {
        None => Place::Embedded(Embedded::open(data, &store, &lease, now)?),
        Some(settings) => Place::Evm(Evm::open(settings, &config.keys, data).await?),
    };
    let chain = Chain::new(place);
    let core = Core {
        grants: Grants::open(config, &chain, &store)?,
        custodian: config.custodian.clone(),
        base: config.base(),
        tokens: Arc::new(Tokenizer::new(&index_key)),
        erasures,
        gate: gate(config)?,
        trail: Trail::default(),
        cursor_key,
        identities: Tokenizer::new(&identity_key),
        secrets: Arc::new(Secrets::new(&marks, accounts)),
        feeds: RwLock::new(Arc::new(Feeds::load(config, None)?)),
        strangers: News::default(),
        signer: LogSigner::from_seed(&config.log.origin, log_key.expose())?,
        chain,
        witnesses: Witnesses::new(&config.log.witnesses),
        witness,
        wake_sequencer: Notify::new(),
        lease,
        exports: Exports::default(),
        notices: Notices::default(),
        metrics: metrics(config)?,
        traces: Traces::default(),
        clock,
        store,
        objects,
        keys,
    };
    core.keep().notice_erasures()?;
    check_packs(&core).await?;
    anchor::check(&core).await?;
    anchor::publish::check(&core.keep()).await?;
    anchor::publish::mend(&core.keep()).await?;
    catch_up(&core.keep(), core.base.clone()).await?;
    if let Some(owner) = upkeep::erase::come_back(&core.keep()).await? {
        return Err(StartError::ErasedIsBack { place: core.objects.place(), owner: owner.as_str().to_owned() });
    }
    Ok(Opened { core: Arc::new(core), token_key, lock })
}

impl App {
    /// What ID tokens are signed with. Made when somebody needs it first: that takes a moment, once.
    pub async fn identity_key(&self) -> Result<&IdentityKey, StartError> {
        let Core { keys, store, objects, .. } = &*self.core;
        let made = || OwnKeys { keys, store, objects }.identity_key(&self.config);
        self.identity_key.get_or_try_init(made).await
    }

    /// Logs whose newest cosigned checkpoint was looked for beside the packs, since the start.
    pub fn witnessed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.witnessed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the committer lives and the service is not stopping.
    pub fn takes_work(&self) -> bool {
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        committer.as_ref().is_some_and(|queue| !queue.is_closed())
    }
}

/// What patients consent to. Other organisations see nothing unless it is said.
fn gate(config: &Config) -> Result<Gate, StartError> {
    let policy = config.consent.policy();
    let otherwise = config.exchange.as_ref().map_or_else(Otherwise::default, |exchange| exchange.consent).effect();
    let outside = Policy { purposes: Vec::new(), otherwise, combining: policy.combining };
    let (overrides, life) = config.consent.emergencies();
    let (purpose, terms) = (config.consent.purpose(), Terms { overrides, life });
    Ok(Gate::new((policy, outside), purpose, terms, rules::labels(config)?))
}

/// What is counted; sent to a collector, too, where one is configured.
fn metrics(config: &Config) -> Result<Metrics, StartError> {
    let wrong = |error: &dyn std::fmt::Display| StartError::Config(format!("telemetry: {error}"));
    let reader = telemetry::export::metrics(&config.telemetry).map_err(|error| wrong(&error))?;
    Metrics::new(reader, telemetry::export::resource()).map_err(|error| wrong(&error))
}

impl Core {
    /// Maps, feeds and certificates as they are now; a message keeps those that it began with.
    pub fn feeds(&self) -> Arc<Feeds> {
        self.feeds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place, whole.
    pub fn set_feeds(&self, feeds: Feeds) {
        *self.feeds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(feeds);
    }

    /// A keyed hash for identities and messages; another key than the search tokens'.
    pub fn identity_token(&self, parts: &[&str]) -> Token {
        self.identities.token(parts)
    }

    /// An owner's data key from the cache or the index.
    pub async fn stored_key(&self, owner: &Owner) -> Result<Option<Key>, VaultError> {
        if let Some(key) = self.keys.cached(owner) {
            return Ok(Some(key));
        }
        match self.store.key(owner)? {
            Some(wrapped) => Ok(Some(self.keys.unwrap(owner, &wrapped).await?)),
            None => Ok(None),
        }
    }
}

/// A new index over old data would give the server new keys and bury the old ones: refused before anything is written.
async fn nothing_else_here(config: &Config, store: &Store, objects: &Objects) -> Result<(), StartError> {
    let lost = |what: String| StartError::IndexLost { data: config.data.clone(), what };
    let journal = config.data.join("ledger.journal");
    // With PostgreSQL the journal lies in the index.
    if config.index.postgres.is_none() && std::fs::metadata(&journal).is_ok_and(|m| m.len() > 0) {
        return Err(lost(journal.display().to_string()));
    }
    match objects.list("packs/", "", 1).await?.first() {
        // Unless another replica has begun meanwhile.
        Some(_) if store.is_empty()? => Err(lost(format!("the object store {}", objects.place()))),
        _ => Ok(()),
    }
}

fn lock(config: &Config) -> Result<File, StartError> {
    let path = &config.data;
    let directory = |source| StartError::Directory { path: path.clone(), source };
    let file = private().create(true).truncate(false).open(path.join("lock")).map_err(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse { path: path.clone() }),
        Err(std::fs::TryLockError::Error(source)) => Err(directory(source)),
    }
}

/// The data directory, and what older versions left open to everybody in it, is closed, two folders deep; what lies further down nobody
/// reaches then. Files of keys are refused where they are read.
fn close_all(data: &Path) {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let objects = data.join("objects");
    let below = entries(&objects).filter(|path| path.is_dir()).collect::<Vec<_>>();
    let is_key = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".key"));
    let whole = std::iter::once(data.to_owned());
    for path in whole.chain(entries(data).filter(|path| !is_key(path))).chain(below) {
        match close_to_others(&path) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(path = %path.display(), "everybody could look into it: closed"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "everybody may look into it"),
        }
    }
}

/// Opens the index where the configuration has it.
fn index(config: &Config) -> Result<Store, StartError> {
    match config.index.settings().map_err(StartError::Config)? {
        Some(settings) => Ok(Store::postgres(settings)?),
        None => Ok(Store::open(&config.data.join("index.sqlite"))?),
    }
}

/// Opens the objects where the configuration has them, and a folder to keep parts of them in.
pub(crate) fn objects(config: &Config, cache: Option<&Path>) -> Result<Objects, StartError> {
    match &config.s3 {
        Some(settings) => Ok(Objects::s3(settings, cache)?),
        None => Ok(Objects::directory(&config.data.join("objects"))?),
    }
}

/// The index, for a command beside a running service.
pub fn existing_index(config: &Config) -> Result<Store, StartError> {
    if config.index.postgres.is_none() && !config.data.join("index.sqlite").exists() {
        return Err(StartError::Nothing { path: config.data.clone() });
    }
    index(config)
}

/// Each pack that the index refers to is there and long enough. Content is checked when it is read.
async fn check_packs(core: &Core) -> Result<(), StartError> {
    let Objects::Directory(root) = &core.objects else { return Ok(()) };
    for (name, end) in core.store.packs()? {
        let length = std::fs::metadata(root.join(&name)).map_or(0, |m| m.len());
        if length < end {
            return Err(StartError::Pack { name, place: core.objects.place() });
        }
    }
    Ok(())
}
