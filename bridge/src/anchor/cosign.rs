//! Asks witnesses to cosign our newest checkpoint (C2SP tlog-witness). One that is away is asked again with the next checkpoint.

use super::AnchorError;
use crate::app::Core;
use crate::config::{Outgoing as Rules, WitnessPeer};
use crate::limits::WITNESS_PATIENCE;
use crate::outgoing::{Outbound, Outgoing, SendError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use notary::tree;
use notary::witness::{AddCheckpoint, WitnessKey, with_cosignatures};
use tokio::time::timeout;
use warp::http::{HeaderMap, Method, StatusCode};

/// How many lines of an answer are looked at: a witness signs with one key, or two while it changes keys.
const MAX_LINES: usize = 16;

/// The size of a checkpoint and its note.
pub(super) type Newest = (u64, String);

/// Who is asked, and how.
#[derive(Debug)]
pub struct Witnesses {
    peers: Vec<(String, WitnessKey)>,
    outgoing: Outgoing,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is no cosignature of the checkpoint by its key")]
    Answer,
    #[error(
        "it says that it has cosigned {known} entries of this log, and the log has {size}: if so, somebody else signs with its key, or it was put back from an older backup"
    )]
    Ahead { known: u64, size: u64 },
}

impl Witnesses {
    /// The witnesses of the configuration, whose keys were checked. The addresses are the operator's own choice.
    pub fn new(peers: &[WitnessPeer]) -> Self {
        let read =
            |peer: &WitnessPeer| Some((peer.url.trim_end_matches('/').to_owned(), WitnessKey::parse(&peer.key).ok()?));
        let rules = Rules { allow_private: true, allow_http: true, ..Rules::default() };
        Self { peers: peers.iter().filter_map(read).collect(), outgoing: Outgoing::new(rules) }
    }

    /// Collects what is missing on the newest checkpoint, and gives it with what was collected. All are asked at once: who is slow
    /// holds up the anchor for `WITNESS_PATIENCE` and nobody else's cosignature.
    pub(super) async fn collect(&self, core: &Core) -> Result<Option<Newest>, AnchorError> {
        let Some((size, note)) = core.store.checkpoint(None)? else { return Ok(None) };
        let missing = self.peers.iter().filter(|(_, key)| key.cosigned(&note).is_none());
        let asked = missing.map(|(url, key)| self.ask_in_time(core, (url, key), size, &note));
        let mut coming: FuturesUnordered<_> = asked.collect();
        let mut cosigned = note.clone();
        while let Some(line) = coming.next().await {
            let Some(line) = line? else { continue };
            // Kept as it comes. The published one beside the packs stays as it is: whoever writes there is the sequencer.
            cosigned = with_cosignatures(&cosigned, &[line]);
            core.store.replace_checkpoint(size, &cosigned)?;
        }
        Ok(Some((size, cosigned)))
    }

    /// The witness's line, if it gives one in time.
    async fn ask_in_time(
        &self,
        core: &Core,
        (url, key): (&str, &WitnessKey),
        size: u64,
        note: &str,
    ) -> Result<Option<String>, AnchorError> {
        let asked = timeout(WITNESS_PATIENCE, self.ask(core, (url, key), size, note)).await;
        match asked.unwrap_or(Err(Missing::Send(SendError::TimedOut))) {
            Ok(line) => return Ok(Some(line)),
            Err(Missing::Anchor(error)) => return Err(error),
            Err(ahead @ Missing::Ahead { .. }) => {
                tracing::error!(witness = key.name(), why = %ahead, "ALARM: a witness knows more of this log than this log");
            }
            Err(Missing::Status(StatusCode::UNPROCESSABLE_ENTITY)) => tracing::error!(
                witness = key.name(),
                "ALARM: a witness says that this log does not follow from what it has cosigned"
            ),
            Err(why) => tracing::warn!(witness = key.name(), %why, "a witness has not cosigned"),
        }
        Ok(None)
    }

    /// The witness's line. A witness that knows another size than we remember says which.
    async fn ask(
        &self,
        core: &Core,
        (url, key): (&str, &WitnessKey),
        size: u64,
        note: &str,
    ) -> Result<String, Missing> {
        let setting = format!("witness.{}", key.name());
        let mut old =
            core.store.setting(&setting).map_err(AnchorError::from)?.and_then(|old| old.parse().ok()).unwrap_or(0);
        for _ in 0..2 {
            let answer = self.send(core, url, old, size, note).await?;
            let text = String::from_utf8(answer.body.to_vec()).map_err(|_| Missing::Answer)?;
            match answer.status {
                StatusCode::OK => {
                    let line = text
                        .lines()
                        .take(MAX_LINES)
                        .map(|line| format!("{line}\n"))
                        .find(|line| key.cosigned(&(note.to_owned() + line)).is_some());
                    let line = line.ok_or(Missing::Answer)?;
                    core.store.set_setting(&setting, &size.to_string()).map_err(AnchorError::from)?;
                    return Ok(line);
                }
                StatusCode::CONFLICT => old = text.trim_end().parse().map_err(|_| Missing::Answer)?,
                other => return Err(Missing::Status(other)),
            }
            if old >= size {
                return Err(Missing::Ahead { known: old, size });
            }
        }
        Err(Missing::Status(StatusCode::CONFLICT))
    }

    async fn send(
        &self,
        core: &Core,
        url: &str,
        old: u64,
        size: u64,
        note: &str,
    ) -> Result<crate::outgoing::Answer, Missing> {
        let proof = match old {
            0 => Vec::new(),
            old if old >= size => Vec::new(),
            old => core
                .store
                .read_log(|reader| tree::prove_consistency(old, size, reader))
                .map_err(AnchorError::from)?
                .map_err(AnchorError::from)?,
        };
        let body = AddCheckpoint { old, proof, note: note.to_owned() }.to_text();
        let url = format!("{url}/add-checkpoint");
        let outbound = Outbound { method: Method::POST, url, headers: HeaderMap::new(), body: body.into() };
        Ok(self.outgoing.send(outbound).await?)
    }
}
