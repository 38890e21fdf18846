//! `medseal contracts deploy`: puts the contracts onto a chain and prints the configuration to paste.

use super::Failed;
use crate::anchor::key::KeyPlace;
use crate::config::{Config, GWEI};
use notary::chain::Contract;
use notary::chain::evm::{Deployed, Node, deploy};
use std::path::{Path, PathBuf};

/// The file of the key unless another is named.
const KEY: &str = "anchor.key";

/// All that a network needs, the anchor first.
const ALL: [Contract; 4] =
    [Contract::NotaryAnchor, Contract::ConsentRegistry, Contract::Participants, Contract::Successors];

/// What was asked for.
#[derive(Debug, clap::Args)]
// clap makes a group of each struct, and the command's own name is one already.
#[group(skip)]
pub struct Deploy {
    /// The node, http://HOST:PORT or https://HOST.
    #[arg(long)]
    pub rpc: String,
    /// The file of the key that will sign anchors (64 hexadecimal digits, mode 0600); made if it is not there. anchor.key in the
    /// data directory by default.
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// Instead of a file: a key of AWS KMS (ECC_SECG_P256K1, to sign and verify), at the endpoint that [keys] names.
    #[arg(long, conflicts_with = "key")]
    pub kms: Option<String>,
    /// Gas costs nothing on this chain.
    #[arg(long)]
    pub free_gas: bool,
    /// The most that a unit of gas may cost, whatever the node asks.
    #[arg(long, default_value_t = 300, conflicts_with = "free_gas")]
    pub max_fee_gwei: u64,
}

/// Deploys and prints.
pub async fn run(config: &Config, arguments: &Deploy) -> Result<(), Failed> {
    deployed(config, arguments).await.map(|settings| print!("{settings}"))
}

/// Deploys, and gives the configuration to paste.
pub async fn deployed(config: &Config, arguments: &Deploy) -> Result<String, Failed> {
    let node = Node::new(&arguments.rpc).map_err(Failed::from_error)?;
    let (chain_id, genesis) = node.identity().await.map_err(Failed::from_error)?;
    let key = sender(config, arguments)?.open().await.map_err(Failed::from_error)?;
    let account = key.address();
    if !arguments.free_gas && node.balance(account).await.map_err(Failed::from_error)?.is_zero() {
        let why = "has no money for gas: send it some and run this again, or say --free-gas where gas costs nothing";
        return Err(Failed(format!("the account {account} {why}")));
    }
    let cap = if arguments.free_gas { 0 } else { u128::from(arguments.max_fee_gwei) * GWEI };
    let mut standing = Vec::with_capacity(ALL.len());
    for contract in ALL {
        let input = contract.creation(account);
        let input = input.ok_or_else(|| Failed("the compiled contract cannot be read".to_owned()))?;
        let deployed = deploy(&node, &key, input, cap).await.map_err(Failed::from_error)?;
        eprintln!("{contract:?} stands at {}: block {}, {} gas", deployed.address, deployed.block, deployed.gas);
        standing.push((contract, deployed));
    }
    Ok(settings(arguments, chain_id, &genesis.to_string(), &standing))
}

/// The key of the account that pays now and anchors later.
fn sender(config: &Config, arguments: &Deploy) -> Result<KeyPlace, Failed> {
    if let Some(key) = &arguments.kms {
        return KeyPlace::service(key, &config.keys).map_err(Failed::from_error);
    }
    let path = arguments.key.clone().unwrap_or_else(|| config.data.join(KEY));
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|e| Failed(format!("{}: {e}", directory.display())))?;
    }
    Ok(KeyPlace::File { path, new_allowed: true })
}

fn settings(arguments: &Deploy, chain_id: u64, genesis: &str, standing: &[(Contract, Deployed)]) -> String {
    let key = match &arguments.kms {
        Some(key) => format!("kms = {key:?}"),
        None => format!("key = {:?}", arguments.key.as_deref().unwrap_or(Path::new(KEY))),
    };
    let fee = if arguments.free_gas { "max_fee_gwei = 0\n" } else { "" };
    let mut text = format!(
        "# Put this into medseal.toml. An index that has anchored on the embedded ledger goes on here from its first entry.\n\
         [chain]\nrpc = [{:?}]\nkind = \"consortium\"       # or \"public\"\nchain_id = {chain_id}\ngenesis = \"{genesis}\"\n",
        arguments.rpc
    );
    for (contract, deployed) in standing {
        text += &match contract {
            Contract::NotaryAnchor => {
                format!("contract = \"{}\"\ncode_hash = \"{}\"\n", deployed.address, deployed.code_hash)
            }
            Contract::ConsentRegistry => String::new(),
            other => {
                let Deployed { address, code_hash, block, .. } = deployed;
                format!("# {other:?} stands at {address} since block {block}, with code {code_hash}\n")
            }
        };
    }
    text += &format!(
        "{key}\n{fee}finality = \"finalized\"    # \"latest\" where consensus makes no forks (QBFT, IBFT), or a number of blocks\n"
    );
    let registry = standing.iter().find(|(contract, _)| *contract == Contract::ConsentRegistry);
    text + &registry.map(|(_, deployed)| registrar(deployed)).unwrap_or_default()
}

/// Where grants are registered. Its key is another one: two that send from one account take each other's nonces.
fn registrar(Deployed { address, code_hash, block, .. }: &Deployed) -> String {
    format!(
        "\n[chain.registry]         # patients' grants; its key is made at the first use, and needs money where gas costs something\n\
         contract = \"{address}\"\ncode_hash = \"{code_hash}\"\nfrom_block = {block}\nkey = \"registrar.key\"\n"
    )
}
