//! `[witness]`: logs of others that this bridge cosigns; and `log.witnesses`: who cosigns ours.

use notary::checkpoint::LogKey;
use notary::witness::WitnessKey;
use serde::Deserialize;

/// The most logs that are witnessed, and witnesses that are asked: the bridges of one network.
const MAX_PEERS: usize = 64;

/// Whose checkpoints are cosigned here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The name under which it cosigns. Never change it.
    pub name: String,
    /// The keys of the logs, `name+hash+key`.
    pub logs: Vec<String>,
}

/// A witness of our log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessPeer {
    /// Without `/add-checkpoint`: of another medseal, `https://HOST/witness`.
    pub url: String,
    /// Its key, `name+hash+key`: of another medseal, `GET /witness/key`.
    pub key: String,
}

impl Witness {
    /// Checks the keys.
    pub fn check(&self) -> Result<(), String> {
        if self.logs.is_empty() || self.logs.len() > MAX_PEERS {
            return Err(format!("witness.logs: 1 to {MAX_PEERS} keys of logs"));
        }
        match self.logs.iter().find(|key| LogKey::parse(key).is_err()) {
            Some(wrong) => Err(format!("witness.logs: `{wrong}` is no log key of the form name+hash+key")),
            None => Ok(()),
        }
    }

    /// The key of a log that is witnessed.
    pub fn log(&self, origin: &str) -> Option<LogKey> {
        self.logs.iter().filter_map(|key| LogKey::parse(key).ok()).find(|key| key.origin() == origin)
    }
}

/// Checks the witnesses of our own log.
pub fn check_peers(peers: &[WitnessPeer]) -> Result<(), String> {
    if peers.len() > MAX_PEERS {
        return Err(format!("log.witnesses: at most {MAX_PEERS}"));
    }
    match peers.iter().find(|peer| WitnessKey::parse(&peer.key).is_err()) {
        Some(wrong) => Err(format!("log.witnesses: `{}` is no witness's key of the form name+hash+key", wrong.key)),
        None => Ok(()),
    }
}
