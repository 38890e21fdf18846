//! Reading files, within bounds.

use notary::checkpoint::LogKey;
use notary::receipt::MAX_RECEIPT_BYTES;
use notary::verify::Policy;
use notary::witness::WitnessKey;
use std::io::Read;
use std::path::Path;

/// At most one byte over the limit, which is enough for the parser to refuse the rest.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(bytes)
}

/// What the verifier trusts: from a file, or nothing.
pub fn policy(path: Option<&Path>) -> Result<Policy, String> {
    let Some(path) = path else { return Ok(Policy::default()) };
    let bytes = read(path, MAX_RECEIPT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8", path.display()))?;
    read_policy(&text).map_err(|(line, why)| match line {
        Some(line) => format!("{}, line {line}: {why}", path.display()),
        None => format!("{}: {why}", path.display()),
    })
}

/// The policy, or the line on which it is wrong and why. A key that cannot be read would refuse everything: it is told here.
fn read_policy(text: &str) -> Result<Policy, (Option<usize>, String)> {
    let line_at = |at: usize| text.get(..at).map(|before| before.matches('\n').count() + 1);
    let policy: Policy =
        toml::from_str(text).map_err(|e| (e.span().and_then(|span| line_at(span.start)), e.message().to_owned()))?;
    let line_of = |key: &str| text.find(key).and_then(line_at);
    for key in &policy.log_keys {
        LogKey::parse(key).map_err(|e| (line_of(key), e.to_string()))?;
    }
    for key in &policy.witnesses {
        WitnessKey::parse(key).map_err(|_| (line_of(key), "not a witness's key (name+hash+base64)".to_owned()))?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "medseal.local/log+30d60212+AS41EDoW+YBFJ3kf78E6hj66GkoFMtE9hh4ZGP4149jv";

    #[test]
    fn a_policy_is_refused_with_its_line() {
        let contract =
            "[[contracts]]\nchain_id = 1\nkind = \"public\"\naddress = \"0x68014d11cb02ebfa3db06ffd06a3328154df3672\"";
        let good = format!("log_keys = [\n\"{KEY}\"\n]\n{contract}\n");
        let read = read_policy(&good).unwrap();
        assert_eq!((read.log_keys.len(), read.contracts.len()), (1, 1));
        let refused = |text: String, line, word: &str| {
            let (at, why) = read_policy(&text).unwrap_err();
            assert_eq!(at, Some(line), "{text}: {why}");
            assert!(why.contains(word), "{why}");
        };
        refused(format!("{good}colour = 1\n"), 8, "colour");
        refused(format!("\nlog_key = []\n{contract}"), 2, "log_key");
        refused(good.replace("log_keys", "nodes = []\nlog_keys"), 1, "nodes");
        refused(good.replace("public", "private"), 6, "private");
        refused(good.replace("0x68014d", "0x"), 7, "");
        refused(good.replace("+30d6", "+30d7"), 2, "not a log key");
        refused(format!("log_keys = []\nwitnesses = [\"{KEY}\"]\n"), 2, "not a witness's key");
        refused("blocks = [\"0x12\"]".into(), 1, "");
    }
}
