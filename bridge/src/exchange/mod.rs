//! Exchange between organisations: push, pull and view between bridges that find each other in the directory of participants,
//! sign what they ask and what they answer, and prove each resource by its receipt (`docs/exchange.md`).

pub mod contents;
pub mod deliver;
pub mod document;
pub mod emergency;
pub mod error;
pub mod hl7v2;
pub mod letters;
pub mod met;
pub mod order;
pub mod parcel;
pub mod participants;
pub mod peers;
pub mod plain;
pub mod pull;
pub mod receive;
pub mod respond;
pub mod rules;
pub mod signed;
pub mod store;
pub mod view;

use crate::anchor::Place;
use crate::app::{App, Core, StartError};
use crate::config::{Config, Exchange as Settings};
use crate::smart::token::TokenKey;
use document::Anchor;
use error::ExchangeError;
use participants::Directory;
use peers::Proved;

/// What a running service knows of itself among others.
#[derive(Debug)]
pub struct Exchange {
    pub settings: Settings,
    pub directory: Directory,
    /// Our own document, as it is published.
    pub document: Vec<u8>,
    /// Senders that were proved before the bodies of their requests are read.
    pub proved: Proved,
    pub met: met::Met,
    /// The maps to HL7 v2, where somebody takes that.
    pub to_v2: Option<mappings::to_v2::Set>,
    pub rules: rules::Rules,
}

impl Exchange {
    /// As the configuration has it; nothing where that speaks of no others.
    pub fn open(config: &Config, core: &Core, key: &TokenKey) -> Result<Option<Self>, StartError> {
        let (Some(settings), Some(directory)) = (&config.exchange, Directory::open(config)?) else { return Ok(None) };
        let (settings, log) = (settings.clone(), core.signer.key().to_string());
        let document =
            document::own(&settings, &core.base, &core.custodian, &log, &anchor(config, core), &key.public());
        let (to_v2, rules) = (hl7v2::maps(config)?, rules::Rules::read(&settings, core)?);
        Ok(Some(Self {
            settings,
            directory,
            document,
            proved: Proved::default(),
            met: met::Met::default(),
            to_v2,
            rules,
        }))
    }
}

fn anchor(config: &Config, core: &Core) -> Anchor {
    match &core.chain.place {
        Place::Embedded(ledger) => Anchor {
            kind: core.chain.kind(),
            chain_id: notary::chain::CHAIN_ID,
            contract: ledger.contract(),
            code_hash: None,
        },
        Place::Evm(evm) => Anchor {
            kind: evm.kind(),
            chain_id: evm.chain_id(),
            contract: evm.contract(),
            code_hash: config.chain.as_ref().map(|chain| chain.code_hash),
        },
    }
}

/// The exchange of a service that takes part in one.
pub fn of(app: &App) -> Result<&Exchange, ExchangeError> {
    app.exchange.as_ref().ok_or(ExchangeError::Off)
}
