//! `medseal contracts deploy`: puts the contracts onto a chain and prints the configuration to paste.

use super::Failed;
use crate::config::Config;
use crate::secret::system_random;
use crate::vault::keys::root_key;
use notary::chain::Contract;
use notary::chain::evm::{Deployed, Node, SenderKey, deploy, local_key};
use std::path::{Path, PathBuf};

/// The file of the key unless another is named.
const KEY: &str = "anchor.key";

/// All that a network needs, the anchor first.
const ALL: [Contract; 4] =
    [Contract::NotaryAnchor, Contract::ConsentRegistry, Contract::Participants, Contract::Successors];

/// What was asked for.
#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// The node, http://HOST:PORT or https://HOST.
    #[arg(long)]
    pub rpc: String,
    /// The file of the key that will sign anchors (64 hexadecimal digits, mode 0600); made if it is not there. anchor.key in the
    /// data directory by default.
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// Gas costs nothing on this chain.
    #[arg(long)]
    pub free_gas: bool,
}

/// Deploys and prints.
pub async fn run(config: &Config, arguments: &Deploy) -> Result<(), Failed> {
    deployed(config, arguments).await.map(|settings| print!("{settings}"))
}

/// Deploys, and gives the configuration to paste.
pub async fn deployed(config: &Config, arguments: &Deploy) -> Result<String, Failed> {
    let node = Node::new(&arguments.rpc).map_err(Failed::from_error)?;
    let (chain_id, genesis) = node.identity().await.map_err(Failed::from_error)?;
    let path = arguments.key.clone().unwrap_or_else(|| config.data.join(KEY));
    let key = sender(&path)?;
    let account = key.address();
    if !arguments.free_gas && node.balance(account).await.map_err(Failed::from_error)?.is_zero() {
        let why = "has no money for gas: send it some and run this again, or say --free-gas where gas costs nothing";
        return Err(Failed(format!("the account {account} (key in {}) {why}", path.display())));
    }
    let mut standing = Vec::with_capacity(ALL.len());
    for contract in ALL {
        let input = contract.creation(account);
        let input = input.ok_or_else(|| Failed("the compiled contract cannot be read".to_owned()))?;
        let deployed = deploy(&node, &key, input, arguments.free_gas).await.map_err(Failed::from_error)?;
        eprintln!("{contract:?} stands at {}: block {}, {} gas", deployed.address, deployed.block, deployed.gas);
        standing.push((contract, deployed));
    }
    let key = arguments.key.as_deref().unwrap_or(Path::new(KEY));
    Ok(settings(arguments, chain_id, &genesis.to_string(), &standing, key))
}

/// The account that pays now and anchors later.
fn sender(path: &Path) -> Result<SenderKey, Failed> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|e| Failed(format!("{}: {e}", directory.display())))?;
    }
    let key = root_key(path, true, &system_random).map_err(Failed::from_error)?;
    local_key(&hex::encode(key.expose())).map_err(Failed::from_error)
}

fn settings(arguments: &Deploy, chain_id: u64, genesis: &str, standing: &[(Contract, Deployed)], key: &Path) -> String {
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
            other => {
                let Deployed { address, code_hash, block, .. } = deployed;
                format!("# {other:?} stands at {address} since block {block}, with code {code_hash}\n")
            }
        };
    }
    text + &format!(
        "key = {key:?}\n{fee}finality = \"finalized\"    # \"latest\" where consensus makes no forks (QBFT, IBFT), or a number of blocks\n"
    )
}
