//! What a running medseal holds, and how it starts: open everything, check that it fits together, begin to work.

pub mod keep;
mod refusal;
pub(crate) mod roots;

pub use refusal::StartError;

use crate::anchor::{self, Chain, Embedded, Evm, Place, Witnesses};
use crate::audit::{self, trail::Trail};
use crate::clock::Clock;
use crate::commit::{self, Waiting};
use crate::config::Config;
use crate::consent::gate::Gate;
use crate::consent::registry::Grants;
use crate::consent::worker;
use crate::error::VaultError;
use crate::export::{self, Exports};
use crate::fhir::profile::Profiles;
use crate::ids::Owner;
use crate::index::store::{Batch, Store};
use crate::index::tokens::{Token, Tokenizer};
use crate::lease::{self, Lease};
use crate::limits::{MAX_BODIES_BYTES, MAX_SIGN_INS, MAX_WAITING};
use crate::notify::{self, Notices};
use crate::outgoing::Outgoing;
use crate::people::openid::Providers;
use crate::people::secrets::Secrets;
use crate::secret::{Key, system_random};
use crate::smart::key_sets::KeySets;
use crate::smart::standing::Standing;
use crate::smart::token::{TokenError, TokenKey};
use crate::upkeep;
use crate::upkeep::recover::tail::catch_up;
use crate::vault::keys::{KeyError, KeyRing};
use crate::vault::objects::{Objects, make_directory};
use crate::vault::seal::{open_bytes, seal_bytes};
use jiff::tz::TimeZone;
use mappings::charset::Charset;
use mappings::library::Library;
use notary::canonical::Json;
use notary::checkpoint::LogSigner;
use notary::witness::Witness;
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{Notify, Semaphore, mpsc};

/// Where the index has the sealed key of the tokens, and what it is sealed for.
const TOKEN_KEY: &str = "token.key";
const TOKEN_PURPOSE: &[u8] = b"medseal/v1/token-key";

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
    maps: RwLock<Arc<Library>>,
    pub zone: Option<TimeZone>,
    pub charset: Charset,
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
}

/// The unit in which room for bodies is counted, in bytes.
pub const BODY_UNIT: usize = 1 << 10;

/// A running medseal.
pub struct App {
    pub core: Arc<Core>,
    pub config: Config,
    pub token_key: TokenKey,
    /// Which tokens were revoked.
    pub standing: Standing,
    /// Clients' keys that were fetched.
    pub key_sets: KeySets,
    /// Sends requests of our own.
    pub outgoing: Outgoing,
    /// What `$validate` checks by, beside the standard.
    pub profiles: Arc<Profiles>,
    /// The committer's queue; taken away when the service stops.
    pub committer: Mutex<Option<mpsc::Sender<Waiting>>>,
    /// Room for request bodies in memory, in units of `BODY_UNIT`.
    pub bodies: Semaphore,
    /// Room for people who are signing in.
    pub sign_ins: Semaphore,
    /// What outside providers have said of themselves.
    pub providers: Providers,
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
    let index_key = system_key(&keys, &store, &objects, ".index").await?;
    let identity_key = system_key(&keys, &store, &objects, ".identity").await?;
    let log_key = system_key(&keys, &store, &objects, ".log").await?;
    let cursor_key = system_key(&keys, &store, &objects, ".cursor").await?;
    let marks = system_key(&keys, &store, &objects, ".marks").await?;
    let accounts = system_key(&keys, &store, &objects, ".accounts").await?;
    let erasures = system_key(&keys, &store, &objects, keep::ERASURES).await?;
    let now = clock.now().as_second().max(0) as u64;
    let token_key = token_key(config, &keys, &store, &objects).await?.serving(&config.base());
    let witness = match &config.witness {
        Some(settings) => {
            let key = system_key(&keys, &store, &objects, ".witness").await?;
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
        gate: Gate::new(config.consent.policy(), config.consent.purpose()),
        trail: Trail::default(),
        cursor_key,
        identities: Tokenizer::new(&identity_key),
        secrets: Arc::new(Secrets::new(&marks, accounts)),
        maps: RwLock::new(Arc::new(library(config)?)),
        zone: config.zone().map_err(StartError::Config)?,
        charset: config.charset().map_err(StartError::Config)?,
        signer: LogSigner::from_seed(&config.log.origin, log_key.expose())?,
        chain,
        witnesses: Witnesses::new(&config.log.witnesses),
        witness,
        wake_sequencer: Notify::new(),
        lease,
        exports: Exports::default(),
        notices: Notices::default(),
        clock,
        store,
        objects,
        keys,
    };
    core.keep().notice_erasures()?;
    check_packs(&core).await?;
    anchor::check(&core).await?;
    anchor::publish::check(&core.keep()).await?;
    catch_up(&core.keep(), core.base.clone()).await?;
    Ok(Opened { core: Arc::new(core), token_key, lock })
}

/// Opens everything and sets the committer and the anchor to work.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<(Arc<App>, Workers), StartError> {
    let Opened { core, token_key, lock } = open(&config, clock).await?;
    let profiles = Arc::new(profiles(&config)?);
    let (sender, queue) = mpsc::channel(MAX_WAITING);
    lease::ask(&core).await;
    worker::begin(&core).await;
    let committer = tokio::spawn(commit::run(core.clone(), queue));
    let anchor = tokio::spawn(anchor::run(core.clone(), config.log.clone()));
    let exporter = tokio::spawn(export::run(core.clone()));
    let app = Arc::new(App {
        outgoing: Outgoing::new(config.outgoing.clone()),
        started: core.clock.now(),
        core,
        config,
        token_key,
        standing: Standing::default(),
        key_sets: KeySets::default(),
        profiles,
        committer: Mutex::new(Some(sender)),
        witnessed: Mutex::default(),
        bodies: Semaphore::new(MAX_BODIES_BYTES / BODY_UNIT),
        sign_ins: Semaphore::new(MAX_SIGN_INS),
        providers: Providers::default(),
        _lock: lock,
    });
    let others = vec![
        exporter,
        tokio::spawn(notify::run(app.clone())),
        tokio::spawn(lease::run(app.core.clone())),
        tokio::spawn(roots::tidy(app.core.clone())),
        tokio::spawn(upkeep::run(app.clone())),
        tokio::spawn(audit::worker::run(app.clone())),
        tokio::spawn(worker::run(app.clone())),
    ];
    Ok((app, Workers { committer, anchor, others }))
}

impl App {
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

/// The background tasks.
pub struct Workers {
    committer: tokio::task::JoinHandle<()>,
    anchor: tokio::task::JoinHandle<()>,
    /// Those that may be cut short anywhere.
    others: Vec<tokio::task::JoinHandle<()>>,
}

impl Workers {
    /// Takes nothing more in, commits what waits, signs and anchors what was committed.
    pub async fn drain(self, app: &Arc<App>) {
        if let Err(error) = audit::worker::flush(app).await {
            tracing::error!(%error, "what was read last could not be told");
        }
        drop(app.committer.lock().unwrap_or_else(PoisonError::into_inner).take());
        if tokio::time::timeout(crate::limits::DRAIN_TIMEOUT, self.committer).await.is_err() {
            tracing::error!("the committer did not finish in time: unanswered senders will send again");
        }
        self.anchor.abort();
        for other in self.others {
            // It holds the application, and with it the lock of the data directory.
            other.abort();
            _ = other.await;
        }
        if app.core.lease.held().is_none() {
            return;
        }
        // A chain that does not answer keeps nobody from stopping.
        match tokio::time::timeout(crate::limits::DRAIN_TIMEOUT, anchor::step(&app.core)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last entries are signed and anchored after the next start"),
            Err(_) => tracing::warn!("the last entries are anchored after the next start"),
        }
        lease::end(&app.core).await;
    }
}

/// Reads, checks and compiles all maps; each overlay's own cases must hold.
fn library(config: &Config) -> Result<Library, mappings::plan::PlanError> {
    Library::load(config.maps.as_deref(), config.overlays.as_deref())
}

/// Reads the profiles that are configured. What of them cannot be checked is told once, at the start.
fn profiles(config: &Config) -> Result<Profiles, StartError> {
    let Some(directory) = &config.validation.profiles else { return Ok(Profiles::default()) };
    let fault = |path: &Path, what: &dyn std::fmt::Display| {
        StartError::Config(format!("validation.profiles: {}: {what}", path.display()))
    };
    let mut resources = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|e| fault(directory, &e))? {
        let path = entry.map_err(|e| fault(directory, &e))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let bytes = std::fs::read(&path).map_err(|e| fault(&path, &e))?;
            resources.push(Json::parse(&bytes).map_err(|e| fault(&path, &e))?);
        }
    }
    let (profiles, doubts) = Profiles::read(resources);
    if profiles.is_empty() {
        return Err(fault(
            directory,
            &"holds no profile: name the folder of a guide's package that has its .json files",
        ));
    }
    tracing::info!(profiles = profiles.len(), "profiles were read");
    doubts.iter().for_each(|doubt| tracing::warn!("{doubt}"));
    Ok(profiles)
}

impl Core {
    /// The maps as they are now; a message keeps those that it began with.
    pub fn maps(&self) -> Arc<Library> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the maps anew and puts them in the place of the old ones, whole, if they are faultless.
    pub fn reload_maps(&self, config: &Config) -> Result<(), mappings::plan::PlanError> {
        let fresh = Arc::new(library(config)?);
        *self.maps.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
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
    let file = File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(directory)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse { path: path.clone() }),
        Err(std::fs::TryLockError::Error(source)) => Err(directory(source)),
    }
}

/// Made for its owner alone; an existing one keeps the mode that the operator gave it.
pub fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    make_directory(path, std::fs::DirBuilder::new().mode(0o700))
}

/// Opens the index where the configuration has it.
fn index(config: &Config) -> Result<Store, StartError> {
    match config.index.settings().map_err(StartError::Config)? {
        Some(settings) => Ok(Store::postgres(settings)?),
        None => Ok(Store::open(&config.data.join("index.sqlite"))?),
    }
}

/// Opens the objects where the configuration has them, and a folder to keep parts of them in.
fn objects(config: &Config, cache: Option<&Path>) -> Result<Objects, StartError> {
    match &config.s3 {
        Some(settings) => Ok(Objects::s3(settings, cache)?),
        None => Ok(Objects::directory(&config.data.join("objects"))?),
    }
}

/// A key of the server's own, made at the first start, by whichever replica comes first.
async fn system_key(keys: &KeyRing, store: &Store, objects: &Objects, name: &str) -> Result<Key, StartError> {
    let owner = Owner::from_stored(name);
    if let Some(wrapped) = store.key(&owner)? {
        return Ok(keys.unwrap(&owner, &wrapped).await?);
    }
    // Nobody else makes one meanwhile, and writes over the object.
    let turn = store.turn()?;
    if let Some(wrapped) = store.key(&owner)? {
        return Ok(keys.unwrap(&owner, &wrapped).await?);
    }
    let (key, wrapped) = keys.newest().await?.generate(&owner, &system_random)?;
    let object = serde_json::json!({name: hex::encode(&wrapped.0)}).to_string();
    // A crash between the two leaves a key object that nothing uses, and the next start writes over it.
    objects.replace(&format!("keys/system{name}"), object.into_bytes()).await?;
    store.commit_in(turn, &Batch { keys: vec![(owner, wrapped)], ..Batch::default() })?;
    Ok(key)
}

/// The key that signs tokens: a file in the data directory. All replicas must have the same, so that with PostgreSQL it lies in
/// the index, sealed.
async fn token_key(config: &Config, keys: &KeyRing, store: &Store, objects: &Objects) -> Result<TokenKey, StartError> {
    if !store.is_shared() {
        return Ok(TokenKey::open(&config.data.join("token.key"))?);
    }
    let key = system_key(keys, store, objects, ".token").await?;
    if store.setting(TOKEN_KEY)?.is_none() {
        let sealed = seal_bytes(&key, TOKEN_PURPOSE, &TokenKey::generate()?, &system_random);
        store.first_setting(TOKEN_KEY, &hex::encode(sealed.map_err(|_| TokenError::Unsigned)?))?;
    }
    sealed_token_key(&key, store)
}

fn sealed_token_key(key: &Key, store: &Store) -> Result<TokenKey, StartError> {
    let path = Path::new("in the index");
    let malformed = || TokenError::Malformed { path: path.to_owned() };
    let sealed = hex::decode(store.setting(TOKEN_KEY)?.unwrap_or_default()).map_err(|_| malformed())?;
    let der = zeroize::Zeroizing::new(open_bytes(key, TOKEN_PURPOSE, &sealed).map_err(|_| malformed())?);
    Ok(TokenKey::from_der(&der, path)?)
}

/// The index, for a command beside a running service.
pub fn existing_index(config: &Config) -> Result<Store, StartError> {
    if config.index.postgres.is_none() && !config.data.join("index.sqlite").exists() {
        return Err(StartError::Nothing { path: config.data.clone() });
    }
    index(config)
}

/// The key that signs tokens, for a command beside a running service.
pub async fn existing_token_key(config: &Config) -> Result<TokenKey, StartError> {
    let data = &config.data;
    if config.index.postgres.is_none() {
        let directory = |source| StartError::Directory { path: data.clone(), source };
        private_directory(data).map_err(directory)?;
        return Ok(TokenKey::open(&data.join("token.key"))?);
    }
    let (store, owner) = (index(config)?, Owner::from_stored(".token"));
    let wrapped = store.key(&owner)?.ok_or(KeyError::NoKey { owner: ".token".into() })?;
    // Not in the service's own folder, which is emptied by whoever opens it.
    let keys = roots::open(config, &store, &objects(config, None)?, false).await?;
    sealed_token_key(&keys.unwrap(&owner, &wrapped).await?, &store)
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
